;; consumer: the program named a Pad that was not submitted to this run
(func (export "run") (param i32 i32)
  (call $add (i32.const 3))
  (drop (call $check)))
