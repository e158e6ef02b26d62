;; engine: the engine reached its ceiling of table elements
(table $t 1 funcref)
(func (export "check-input") (type $input)
  (loop $more (drop (table.grow $t (ref.null func) (i32.const 100))) (br $more))
  (unreachable))
