;; consumer: the program reached its limit of time
(func (export "run") (param i32 i32) (loop $on (br $on)))
