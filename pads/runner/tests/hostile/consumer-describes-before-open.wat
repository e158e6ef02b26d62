;; consumer: the program named a Pad that is not open
(func (export "run") (param i32 i32)
  (call $add (i32.const 0))
  (drop (call $check))
  (call $describe (i32.const 0) (i32.const 0)))
