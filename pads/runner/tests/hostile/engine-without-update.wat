;; engine: the component does not have the calls of its world
(component
  (core module $m (func (export "f")))
  (core instance $i (instantiate $m))
  (func (export "check-update") (canon lift (core func $i "f"))))
