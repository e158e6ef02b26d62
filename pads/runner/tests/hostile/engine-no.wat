;; engine: refused by code 7 at Part::Program 3
;; A control: the engine refuses by a rule of code 7.
(func (export "check-input") (type $input)
  (drop (call $yes))
  (i32.store8 (i32.const 16) (i32.const 1))
  (i32.store16 (i32.const 20) (i32.const 7))
  (i32.store8 (i32.const 22) (i32.const 1))
  (i32.store8 (i32.const 24) (i32.const 1))
  (i32.store16 (i32.const 26) (i32.const 3))
  (i32.const 0))
