;; engine: the engine trapped
;; An answer that is neither yes nor no.
(func (export "check-input") (type $input)
  (drop (call $yes))
  (i32.store8 (i32.const 16) (i32.const 2))
  (i32.const 0))
