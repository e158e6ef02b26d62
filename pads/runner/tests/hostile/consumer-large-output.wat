;; consumer: the program proposed an output of more than 67108864 bytes
(func (export "run") (param i32 i32)
  (call $opened)
  (drop (memory.grow (i32.const 1100)))
  (drop (call $output (i32.const 0) (i32.const 67108865))))
