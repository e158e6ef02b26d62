;; engine: the engine reached its memory ceiling
(memory (export "memory") 65536)
