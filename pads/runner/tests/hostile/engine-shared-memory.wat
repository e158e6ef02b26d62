;; engine: the component is not valid in this sandbox
(component (core module (memory 1 1 shared)))
