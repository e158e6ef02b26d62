;; engine: allowed with 2 uses
;; A control: two uses of quotas, which are all zero.
(func (export "check-input") (type $input)
  (drop (call $yes))
  (i32.store (i32.const 20) (i32.const 64))
  (i32.store (i32.const 24) (i32.const 2))
  (i32.const 0))
