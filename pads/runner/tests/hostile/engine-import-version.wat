;; engine: the component imports dstyx:pad/proposed@0.2.0, which is not offered
(component (import "dstyx:pad/proposed@0.2.0" (instance)))
