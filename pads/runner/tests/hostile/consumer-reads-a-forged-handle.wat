;; consumer: the program named a Pad that is not open
(func (export "run") (param i32 i32)
  (call $opened)
  (call $read (i32.const -1) (i64.const 0) (i32.const 1) (i32.const 0)))
