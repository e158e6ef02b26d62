;; engine: a core module; only components are run
(module)
