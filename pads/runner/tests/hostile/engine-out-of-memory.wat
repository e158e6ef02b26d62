;; engine: the engine trapped
(func (export "check-input") (type $input) (i32.load (i32.const -5)))
