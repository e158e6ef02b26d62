;; engine: the component is not valid in this sandbox
(component (core module (memory i64 1)))
