;; engine output: the engine asked for a window outside the proposed data, or for more than 1 MiB
(import "dstyx:pad/proposed@0.1.0" "read" (func $read (param i64 i32 i32)))
(func (export "check-output") (param i32) (result i32)
  (call $read (i64.const 0) (i32.const -1) (i32.const 0))
  (call $yes))
