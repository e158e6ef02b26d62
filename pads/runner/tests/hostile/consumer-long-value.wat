;; consumer: the program passed more data than one call may carry
;; An attribute of 4097 bytes.
(data (i32.const 1032) "\02\00\00\00\00\00\00\00\00\00\00\00\01\10\00\00")
(func (export "run") (param i32 i32)
  (call $opened)
  (drop (call $propose (i32.const 0) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)
    (i32.const 0) (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 0) (i32.const 0))))
