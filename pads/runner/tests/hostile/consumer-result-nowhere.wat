;; consumer: the program trapped
;; A window whose address is to be written beyond memory.
(func (export "run") (param i32 i32)
  (call $opened)
  (call $read (i32.const 0) (i64.const 0) (i32.const 8) (i32.const -8)))
