;; consumer: the program reached its ceiling of table elements
(table $t 1 funcref)
(func (export "run") (param i32 i32)
  (loop $more (drop (table.grow $t (ref.null func) (i32.const 100))) (br $more)))
