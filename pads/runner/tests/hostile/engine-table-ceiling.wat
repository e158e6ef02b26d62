;; engine: the engine reached its ceiling of table elements
(table 5000 funcref)
