;; engine: refused by code 7
;; A control: the engine refuses by its rule 7.
(func (export "check-input") (type $input)
  (drop (call $yes))
  (i32.store8 (i32.const 16) (i32.const 7))
  (i32.const 0))
