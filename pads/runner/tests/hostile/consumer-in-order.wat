;; consumer: ended, 1 output allowed
;; A control: every step, and the first byte of each Pad as output.
(func (export "run") (param i32 i32)
  (if (i32.ne (call $pads) (i32.const 3)) (then (unreachable)))
  (call $add (i32.const 1))
  (call $add (i32.const 0))
  (if (i32.eqz (call $check)) (then (unreachable)))
  (call $open)
  (if (i64.ne (call $size (i32.const 1)) (i64.const 14)) (then (unreachable)))
  (call $read (i32.const 1) (i64.const 7) (i32.const 7) (i32.const 0))
  (if (i32.ne (i32.load (i32.const 4)) (i32.const 7)) (then (unreachable)))
  (if (i32.eqz (call $output (i32.load (i32.const 0)) (i32.const 7))) (then (unreachable))))
