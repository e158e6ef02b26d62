;; consumer: the program trapped
;; Data that goes beyond memory.
(func (export "run") (param i32 i32)
  (call $opened)
  (drop (call $output (i32.const 8) (i32.const -1))))
