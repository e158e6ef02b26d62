;; engine output: the engine trapped
;; Reads the proposed data and traps in a function whose name, and at an address that, says what it read.
(import "dstyx:pad/proposed@0.1.0" "read" (func $read (param i64 i32 i32)))
(func $secret_is_s (drop (i32.load (i32.const -4))))
(func (export "check-output") (param i32) (result i32)
  (call $read (i64.const 0) (i32.const 26) (i32.const 0))
  (if (i32.eq (i32.load8_u (i32.load (i32.const 0))) (i32.const 115)) (then (call $secret_is_s)))
  (call $yes))
