;; consumer: the program trapped
;; An attribute whose name is no UTF-8.
(data (i32.const 1024) "\10\04\00\00\02\00\00\00\00\00\00\00\00\00\00\00\ff\fe")
(func (export "run") (param i32 i32)
  (call $opened)
  (drop (call $propose (i32.const 0) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)
    (i32.const 0) (i32.const 0) (i32.const 1024) (i32.const 1) (i32.const 0) (i32.const 0))))
