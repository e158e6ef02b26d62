//! Stands in for the TDX module and its quoting service, so that a guest can be booted and judged
//! anywhere.
//!
//! Nothing here protects anything: the root key is published. What it does prove is that the
//! programs of a release take the whole path, and that our prediction of registers agrees with a
//! second, separate computation: this crate shares hash functions and wire types with the product,
//! never `measurement`. It is a program of its own and a library for tests; no product crate links
//! it.
#![forbid(unsafe_code)]

pub mod collateral;
pub mod firmware_log;
pub mod frame;
pub mod journal;
pub mod lie;
pub mod measure;
pub mod pccs;
pub mod pki;
pub mod qemu;
pub mod quote;
pub mod registers;
pub mod request;
pub mod service;
pub mod session;
pub mod state_dir;

#[cfg(test)]
#[path = "../tests/support/synthetic.rs"]
mod synthetic;
