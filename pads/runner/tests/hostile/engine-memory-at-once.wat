;; engine: the engine reached its memory ceiling
(func (export "check-input") (type $input)
  (drop (memory.grow (i32.const 65000)))
  (call $yes))
