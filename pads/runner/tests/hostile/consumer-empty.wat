;; consumer: the program could not be started
(component)
