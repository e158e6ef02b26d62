;; engine output: refused by code 115
;; A control: the engine reads a byte of the proposed data, and refuses by it.
(import "dstyx:pad/proposed@0.1.0" "read" (func $read (param i64 i32 i32)))
(func (export "check-output") (param i32) (result i32)
  (local $byte i32)
  (call $read (i64.const 0) (i32.const 1) (i32.const 0))
  (local.set $byte (i32.load8_u (i32.load (i32.const 0))))
  (drop (call $yes))
  (i32.store8 (i32.const 16) (i32.const 1))
  (i32.store16 (i32.const 20) (local.get $byte))
  (i32.const 0))
