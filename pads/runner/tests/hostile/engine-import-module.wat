;; engine: the component imports code, which is not offered
(component (import "code" (core module)))
