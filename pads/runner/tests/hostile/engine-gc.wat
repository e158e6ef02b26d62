;; engine: the component is not valid in this sandbox
(component (core module (type (struct (field i32)))))
