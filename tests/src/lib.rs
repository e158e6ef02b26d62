//! What the tests of promises share; the promises themselves are in `tests/`, a file each.

pub mod qemu_probe;
