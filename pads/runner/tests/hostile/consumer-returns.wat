;; consumer: ended
;; A control: the program does nothing.
