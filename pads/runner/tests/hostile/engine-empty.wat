;; engine: the component does not have the calls of its world
(component)
