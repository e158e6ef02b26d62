;; engine: the component imports dstyx:pads/proposed@0.1.0, which is not offered
(component (import "dstyx:pads/proposed@0.1.0" (instance)))
