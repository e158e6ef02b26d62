;; engine output: the engine used all its fuel
(func (export "check-output") (param i32) (result i32) (loop $on (br $on)) (unreachable))
