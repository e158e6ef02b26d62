//! What a run of a consumer program may do: the order of its steps, and the frames between the
//! program's process and the middleware.
//!
//! Pure: no socket, no file, no clock, no WebAssembly; streams are the caller's. It faces a process
//! in which a stranger's program runs. Data is opened only after a judge agreed to the dataset, and
//! leaves only after the judge agreed to the output; both are true by the types of [`order`],
//! whatever the process sends.

#![forbid(unsafe_code)]

pub mod codec;
mod fault;
pub mod frames;
pub mod order;
pub mod proposal;
pub mod wire;

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

/// What a consumer program may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of linear memory.
    pub memory_bytes: u64,
    /// Elements of tables.
    pub table_elements: u32,
    /// Bytes of data that its Pads may have together.
    pub data_bytes: u64,
    /// Milliseconds from the start of its process to its end, engines' time included.
    pub wall_millis: u64,
    /// Outputs that it may propose.
    pub proposals: u32,
}

impl Default for Limits {
    /// Training on a table of some hundred megabytes.
    fn default() -> Self {
        Self {
            memory_bytes: 1 << 30,
            table_elements: 100_000,
            data_bytes: 1 << 30,
            wall_millis: 600_000,
            proposals: 8,
        }
    }
}
