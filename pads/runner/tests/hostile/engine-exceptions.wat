;; engine: the component is not valid in this sandbox
(component (core module (tag)))
