;; engine: the engine trapped
(table 1 funcref)
(type $none (func))
(func (export "check-input") (type $input) (call_indirect (type $none) (i32.const 0)) (call $yes))
