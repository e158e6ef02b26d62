;; consumer: the program trapped
;; A custodian that is neither there nor absent.
(func (export "run") (param i32 i32)
  (call $opened)
  (drop (call $propose (i32.const 2) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)
    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))))
