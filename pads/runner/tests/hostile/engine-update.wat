;; engine update: allowed
;; A control: the engine lets anybody change the policies.
