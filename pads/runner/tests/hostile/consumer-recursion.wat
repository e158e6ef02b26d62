;; consumer: the program reached its stack ceiling
(func $deeper (param i64) (result i64)
  (i64.add (local.get 0) (call $deeper (i64.add (local.get 0) (i64.const 1)))))
(func (export "run") (param i32 i32) (drop (call $deeper (i64.const 0))))
