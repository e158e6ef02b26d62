;; engine: the engine trapped
(func (export "check-input") (type $input) (unreachable))
