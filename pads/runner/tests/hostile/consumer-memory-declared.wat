;; consumer: the program reached its memory ceiling
(memory (export "memory") 65536)
