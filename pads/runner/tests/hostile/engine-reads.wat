;; engine output: refused by code 115
;; A control: the engine reads a byte of the proposed data, and refuses by it.
(import "dstyx:pad/proposed@0.1.0" "read" (func $read (param i64 i32 i32)))
(func (export "check-output") (param i32) (result i32)
  (call $read (i64.const 0) (i32.const 1) (i32.const 0))
  (i32.const 0))
