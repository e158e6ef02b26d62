;; consumer: the program asked for a window outside a Pad's data, or for more than 1 MiB
(func (export "run") (param i32 i32)
  (call $opened)
  (call $read (i32.const 0) (i64.const 0) (i32.const 0x100001) (i32.const 0)))
