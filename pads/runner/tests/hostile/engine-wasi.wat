;; engine: the component imports wasi:cli/stdout@0.2.0, which is not offered
(component (import "wasi:cli/stdout@0.2.0" (instance)))
