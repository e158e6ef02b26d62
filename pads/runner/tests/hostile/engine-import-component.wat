;; engine: the component imports inner, which is not offered
(component (import "inner" (component)))
