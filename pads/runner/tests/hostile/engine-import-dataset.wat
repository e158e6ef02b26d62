;; engine: the component imports dstyx:pad/dataset@0.1.0, which is not offered
;; The interface of the other world: an engine never sees the data of a Pad.
(component (import "dstyx:pad/dataset@0.1.0" (instance)))
