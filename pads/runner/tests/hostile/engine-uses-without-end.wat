;; engine: the engine trapped
;; A yes with more uses of quotas than memory has room for.
(func (export "check-input") (type $input)
  (drop (call $yes))
  (i32.store (i32.const 20) (i32.const 64))
  (i32.store (i32.const 24) (i32.const -1))
  (i32.const 0))
