//! The way of Pads through a run: from sealed bytes to data that a program may read, and from
//! proposed bytes to what leaves.
//!
//! Pure: no socket, no file, no clock, no WebAssembly; Pads are streams of the caller, the time is
//! passed in, and engines and key delegators are traits. It faces whoever submits a run (who may
//! exchange Pads, programs, engines, owners and enrolments), custodians whose Pads claim what they
//! like, engines of one custodian that decide beside those of others, and the program itself.
//!
//! [`Dataset`] → [`CheckedDataset`] → [`OpenDataset`], and [`Proposed`] → [`Allowed`] → [`Packed`]:
//! each step consumes what it starts from, and has no other constructor. There is no data without a
//! yes of every engine of every Pad, and no output without another yes, the uses counted, the audit
//! record's head given away and the new key kept.

#![forbid(unsafe_code)]

pub mod audit;
pub mod conversation;
pub mod dataset;
pub mod delegator;
pub mod engines;
mod figure;
pub mod output;
pub mod questions;
pub mod refusal;
pub mod session;
pub mod submission;
pub mod update;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod property;
#[cfg(test)]
mod world;

pub use dataset::{CheckedDataset, Dataset, OpenDataset};
pub use delegator::Delegator;
pub use engines::Engines;
pub use output::{Allowed, Packed, Proposed};
pub use refusal::Refusal;
pub use session::Session;
pub use submission::{Accepted, Runs, Submission};
