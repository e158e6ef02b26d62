;; engine output: the engine read more of the proposed data than it may
;; Windows are copied by the host, which costs no fuel.
(import "dstyx:pad/proposed@0.1.0" "read" (func $read (param i64 i32 i32)))
(func (export "check-output") (param i32) (result i32)
  (loop $on
    (call $read (i64.const 0) (i32.const 26) (i32.const 0))
    (global.set $free (i32.const 65536))
    (br $on))
  (unreachable))
