//! Programs for the sandbox of Pads in Rust: the worlds of `pads/wit` as traits and types, and a
//! macro for each that makes a module of their implementation.
//!
//! Such a program is a `cdylib` for `wasm32-unknown-unknown`; `dstyx pad component` makes the
//! component of it. The sandbox has nothing but these interfaces, so what the standard library
//! offers beyond memory (clocks, files, sockets, threads) fails in it.

#![forbid(unsafe_code)]

#[allow(missing_docs, reason = "generated from documented text")]
pub mod consumer;
#[allow(missing_docs, reason = "generated from documented text")]
pub mod engine;
