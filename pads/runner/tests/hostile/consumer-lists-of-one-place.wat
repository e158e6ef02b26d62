;; consumer: the program trapped
;; A hundred attributes whose values are all the same 4 MiB.
(func (export "run") (param i32 i32)
  (local $i i32)
  (call $opened)
  (drop (memory.grow (i32.const 64)))
  (loop $more
    (i32.store8 (i32.add (i32.const 1032) (i32.mul (local.get $i) (i32.const 24))) (i32.const 2))
    (i32.store (i32.add (i32.const 1044) (i32.mul (local.get $i) (i32.const 24))) (i32.const 0x400000))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $more (i32.lt_u (local.get $i) (i32.const 100))))
  (drop (call $propose (i32.const 0) (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)
    (i32.const 0) (i32.const 0) (i32.const 1024) (i32.const 100) (i32.const 0) (i32.const 0))))
