;; consumer: the program trapped
(func (export "run") (param i32 i32) (unreachable))
