;; engine: the engine trapped
(func (export "check-input") (type $input) (i32.div_u (i32.const 1) (i32.const 0)))
