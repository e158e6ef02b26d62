;; consumer: the program wanted to add while its dataset was checked, not open
(func (export "run") (param i32 i32)
  (call $add (i32.const 0))
  (drop (call $check))
  (call $add (i32.const 1))
  (call $open))
