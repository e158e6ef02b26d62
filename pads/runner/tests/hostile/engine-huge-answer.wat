;; engine: the engine trapped
;; A list that goes beyond memory.
(func (export "check-input") (type $input)
  (i32.store (i32.const 4) (i32.const -1))
  (i32.const 0))
