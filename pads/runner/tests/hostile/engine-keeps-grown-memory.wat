;; engine: allowed
;; Looks for what an earlier call left in memory that it grew.
(func (export "check-input") (type $input)
  (drop (memory.grow (i32.const 4)))
  (if (i32.load (i32.const 200000)) (then (unreachable)))
  (i32.store (i32.const 200000) (i32.const 1))
  (call $yes))
