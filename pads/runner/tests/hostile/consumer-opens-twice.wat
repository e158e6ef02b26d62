;; consumer: the program wanted to open while its dataset was open
(func (export "run") (param i32 i32)
  (call $opened)
  (call $open))
