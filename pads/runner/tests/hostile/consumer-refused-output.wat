;; consumer: ended
;; A control: an output that the engines refuse does not leave.
(data (i32.const 100) "no")
(func (export "run") (param i32 i32)
  (call $opened)
  (if (call $output (i32.const 100) (i32.const 2)) (then (unreachable))))
