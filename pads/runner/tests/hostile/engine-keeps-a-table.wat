;; engine: allowed
;; Looks for what an earlier call left in a table.
(table $t 2 funcref)
(elem declare func $yes)
(func (export "check-input") (type $input)
  (if (i32.eqz (ref.is_null (table.get $t (i32.const 1)))) (then (unreachable)))
  (table.set $t (i32.const 1) (ref.func $yes))
  (call $yes))
