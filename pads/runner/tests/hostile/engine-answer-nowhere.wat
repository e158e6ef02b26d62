;; engine: the engine trapped
(func (export "check-input") (type $input) (i32.const -4))
