;; consumer: the program reached its limit of time
(func $start (loop $on (br $on)))
(start $start)
