;; engine: allowed
;; A control: the engine says yes.
