;; consumer: the program trapped
;; Traps at an address that is the data.
(func (export "run") (param i32 i32)
  (call $opened)
  (call $read (i32.const 0) (i64.const 0) (i32.const 4) (i32.const 0))
  (drop (i32.load (i32.or (i32.load (i32.load (i32.const 0))) (i32.const 0x7f000000)))))
