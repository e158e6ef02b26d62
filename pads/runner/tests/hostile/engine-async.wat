;; engine: the component is not valid in this sandbox
;; Calls that are not waited for, and what they hand over later, are off.
(component (type (future u8)))
