;; engine: allowed
;; A control: growing beyond a bound of the module's own fails, takes nothing, and may be tried for ever.
(memory (export "memory") 2 3)
(func (export "check-input") (type $input)
  (local $i i32)
  (loop $on
    (if (i32.ne (memory.grow (i32.const 2)) (i32.const -1)) (then (unreachable)))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br_if $on (i32.lt_u (local.get $i) (i32.const 1000))))
  (call $yes))
