;; engine: the engine trapped
;; Reads just behind its memory, and as far away as an address and an offset reach.
(func (export "check-input") (type $input)
  (drop (i64.load offset=0xffffffff (i32.const -1)))
  (drop (i64.load (i32.shl (memory.size) (i32.const 16))))
  (call $yes))
