;; consumer: the component imports dstyx:pad/proposed@0.1.0, which is not offered
(component (import "dstyx:pad/proposed@0.1.0" (instance)))
