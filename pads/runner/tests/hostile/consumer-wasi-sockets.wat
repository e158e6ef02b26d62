;; consumer: the component imports wasi:sockets/tcp@0.2.0, which is not offered
(component (import "wasi:sockets/tcp@0.2.0" (instance)))
