;; engine: the engine reached its memory ceiling
(func (export "check-input") (type $input)
  (loop $more (drop (memory.grow (i32.const 1))) (br $more))
  (unreachable))
