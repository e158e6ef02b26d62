;; consumer: the component is not valid in this sandbox
;; Streams of the component model are off, as all that goes on beside the one call.
(component (type (stream u8)))
