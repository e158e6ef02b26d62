;; consumer: the program wanted to open while its dataset was not checked
(func (export "run") (param i32 i32)
  (call $add (i32.const 0))
  (call $open))
