;; engine: the component imports clock, which is not offered
(component (import "clock" (func (result u64))))
