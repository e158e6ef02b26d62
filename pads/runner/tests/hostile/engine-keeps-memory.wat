;; engine: refused by code 1
;; Counts its calls in memory, far from what any call writes.
(func (export "check-input") (type $input)
  (i32.store8 (i32.const 60000) (i32.add (i32.load8_u (i32.const 60000)) (i32.const 1)))
  (drop (call $yes))
  (i32.store8 (i32.const 16) (i32.const 1))
  (i32.store16 (i32.const 20) (i32.load8_u (i32.const 60000)))
  (i32.const 0))
