;; engine: the engine used all its fuel
(func $start (loop $on (br $on)))
(start $start)
