;; engine: the engine trapped
;; A window of data that is proposed to another call: there is none yet.
(import "dstyx:pad/proposed@0.1.0" "size" (func $size (result i64)))
(func $start (if (i64.eqz (call $size)) (then (unreachable))))
(start $start)
