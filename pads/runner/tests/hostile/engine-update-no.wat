;; engine update: refused by code 40
(func (export "check-update") (param i32) (result i32)
  (i32.store8 (i32.const 16) (i32.const 1))
  (i32.store16 (i32.const 20) (i32.const 40))
  (i32.const 16))
