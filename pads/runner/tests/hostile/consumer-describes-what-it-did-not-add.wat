;; consumer: the program named a Pad that is not open
(func (export "run") (param i32 i32)
  (call $opened)
  (call $describe (i32.const 1) (i32.const 0)))
