;; consumer: the component imports wasi:filesystem/preopens@0.2.0, which is not offered
(component (import "wasi:filesystem/preopens@0.2.0" (instance)))
