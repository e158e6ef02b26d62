;; engine: the engine trapped
(func $start (unreachable))
(start $start)
