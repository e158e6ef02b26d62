;; consumer: the program trapped
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const -8))
(func (export "run") (param i32 i32)
  (call $opened)
  (call $read (i32.const 0) (i64.const 0) (i32.const 8) (i32.const 0)))
