;; consumer: the program reached its limit of time
;; Reads for ever, which no message tells the middleware.
(func (export "run") (param i32 i32)
  (call $opened)
  (loop $on
    (call $read (i32.const 0) (i64.const 0) (i32.const 8) (i32.const 0))
    (global.set $free (i32.const 65536))
    (br $on)))
