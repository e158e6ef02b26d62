;; consumer: the program wanted to add while its dataset was open
(func (export "run") (param i32 i32)
  (call $opened)
  (call $add (i32.const 2))
  (drop (call $check)))
