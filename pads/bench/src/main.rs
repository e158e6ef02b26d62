//! What Pads cost beside their peers, in one run: `cargo xtask bench pads` builds and starts it.
//! Nothing is asserted of how long anything takes.
//!
//! What is compared takes turns in the same minutes; a figure is a median, with the range in which
//! nine in ten are.

#![forbid(unsafe_code)]

mod checks;
mod hospitals;
mod inference;
mod kernels;
mod paper;
mod programs;
mod sandbox;
mod table;

fn main() {
    table::head();
    paper::paper();
    checks::checks();
    sandbox::sandbox();
    kernels::kernels();
    inference::inference();
}
