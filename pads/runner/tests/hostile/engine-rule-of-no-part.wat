;; engine: the engine trapped
;; A no by a rule of a fourth part.
(func (export "check-input") (type $input)
  (drop (call $yes))
  (i32.store8 (i32.const 16) (i32.const 1))
  (i32.store8 (i32.const 22) (i32.const 1))
  (i32.store8 (i32.const 24) (i32.const 3))
  (i32.const 0))
