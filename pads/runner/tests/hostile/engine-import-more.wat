;; engine: the component does not have the calls of its world
;; A function that the interface does not have.
(component (import "dstyx:pad/proposed@0.1.0" (instance (export "write" (func (param "data" (list u8)))))))
