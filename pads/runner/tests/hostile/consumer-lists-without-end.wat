;; consumer: the program trapped
;; More policies than memory has room for.
(func (export "run") (param i32 i32)
  (call $opened)
  (drop (call $propose (i32.const 0) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)
    (i32.const 1024) (i32.const -1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))))
