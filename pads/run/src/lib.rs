//! What a run of a consumer program may do: the order of its steps, and the frames between the
//! program's process and the middleware.
//!
//! Pure: no socket, no file, no clock, no WebAssembly. It faces a process in which a stranger's
//! program runs. Data is opened only after a judge agreed to the dataset, and leaves only after the
//! judge agreed to the output; both are true by the types of [`order`], whatever the process sends.

#![forbid(unsafe_code)]

mod fault;
pub mod frames;
pub mod order;
pub mod proposal;

pub use order::{Answer, Judge, Misuse, Pad, Run};
pub use proposal::{Attribute, Contents, Policy, Proposal, Value};

/// Pads of one run: as many as a check is measured with.
pub const MAX_PADS: u32 = 10_000;
/// Bytes of one window: a program that wants more asks again.
pub const MAX_WINDOW_BYTES: u32 = 1 << 20;
/// Bytes of a program's plain input: one frame holds it.
pub const MAX_PLAIN_BYTES: usize = 1 << 20;
/// Bytes of a proposal without its data: some policies of full length.
pub const MAX_PROPOSAL_BYTES: usize = 1 << 20;
/// Bytes of an output's data: it is held in memory while engines read it.
pub const MAX_OUTPUT_BYTES: u64 = 64 << 20;
/// Outputs that a run may propose: each one costs a call of every engine.
pub const MAX_PROPOSALS: u32 = 64;
