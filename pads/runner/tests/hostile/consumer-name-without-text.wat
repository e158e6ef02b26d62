;; consumer: the program trapped
;; An attribute whose name is no UTF-8.
(data (i32.const 1024) "\18\04\00\00\02\00\00\00")
(data (i32.const 1048) "\ff\fe")
(func (export "run") (param i32 i32)
  (call $opened)
  (drop (call $propose (i32.const 0) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)
    (i32.const 0) (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 0) (i32.const 0))))
