;; engine: the component imports file, which is not offered
(component (import "file" (type (sub resource))))
