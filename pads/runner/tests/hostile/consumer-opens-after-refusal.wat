;; consumer: the program wanted to open while its dataset was refused
;; Pad 2 is one whose engine refuses.
(func (export "run") (param i32 i32)
  (call $add (i32.const 0))
  (call $add (i32.const 2))
  (if (call $check) (then (unreachable)))
  (call $open))
