;; engine: the component is not valid in this sandbox
;; A table of more elements than a pooled one has room for.
(table 10000000 funcref)
