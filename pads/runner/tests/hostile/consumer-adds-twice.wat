;; consumer: the program added a Pad twice
(func (export "run") (param i32 i32)
  (call $add (i32.const 0))
  (call $add (i32.const 0))
  (drop (call $check)))
