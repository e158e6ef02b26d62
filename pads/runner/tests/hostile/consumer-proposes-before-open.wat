;; consumer: the program wanted to propose while its dataset was checked, not open
(func (export "run") (param i32 i32)
  (call $add (i32.const 0))
  (drop (call $check))
  (drop (call $output (i32.const 0) (i32.const 1))))
