;; consumer: the program passed more data than one call may carry
;; 17 policies, all at one place that is zero.
(func (export "run") (param i32 i32)
  (call $opened)
  (drop (call $propose (i32.const 0) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)
    (i32.const 1024) (i32.const 17) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))))
