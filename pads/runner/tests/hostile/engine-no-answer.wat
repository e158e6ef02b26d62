;; engine: the engine gave 0 answers, expected 1
(func (export "check-input") (type $input) (i32.const 0))
