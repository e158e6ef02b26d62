;; consumer: ended, 1 output allowed
;; A control: the opened Pad's one policy and its attribute `entries`, which is 100, go into the output.
(func (export "run") (param i32 i32)
  (call $opened)
  (call $describe (i32.const 0) (i32.const 0))
  (if (i32.ne (i32.load (i32.const 4)) (i32.const 1)) (then (unreachable)))
  (if (i32.ne (i32.load (i32.const 12)) (i32.const 1)) (then (unreachable)))
  (if (i64.ne (i64.load (i32.add (i32.load (i32.const 8)) (i32.const 16))) (i64.const 100))
    (then (unreachable)))
  (if (i32.eqz (call $propose
      (i32.const 1) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)
      (i32.load (i32.const 0)) (i32.const 1) (i32.load (i32.const 8)) (i32.const 1)
      (i32.const 0) (i32.const 0)))
    (then (unreachable))))
