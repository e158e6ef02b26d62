;; engine: the engine used all its fuel
(func (export "check-input") (type $input) (loop $on (br $on)) (unreachable))
