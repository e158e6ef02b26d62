;; consumer: the program trapped
;; An attribute whose value is neither number, text nor bytes.
(data (i32.const 1032) "\03")
(func (export "run") (param i32 i32)
  (call $opened)
  (drop (call $propose (i32.const 0) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)
    (i32.const 0) (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 0) (i32.const 0))))
