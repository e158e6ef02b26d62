;; consumer: the program reached its memory ceiling
(func (export "run") (param i32 i32)
  (loop $more (drop (memory.grow (i32.const 16))) (br $more)))
