;; engine: the component does not have the calls of its world
(component (import "dstyx:pad/proposed@0.1.0" (instance (export "size" (func (result string))))))
