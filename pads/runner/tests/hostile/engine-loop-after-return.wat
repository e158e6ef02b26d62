;; engine: the engine used all its fuel
(func (export "cabi_post_check-input") (param i32) (loop $on (br $on)))
