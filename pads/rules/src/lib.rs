//! The rules that the policy engine `share` knows: who may compute on which Pads together, with
//! which program, how often, and what may come of it. `docs/pad-rules.md` is the specification.
//!
//! Pure, and without anything of an operating system, because it runs as an engine inside a
//! sandbox. It faces programs that nobody trusts, custodians whose Pads claim what they like, and
//! data sets that were put together to deceive a rule. All rules of a policy have to hold, what no
//! rule grants is refused, and a refusal is a code: an engine gives no figure of Pads of others.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod check;
mod data_set;
mod policy;
mod quota;
mod refusal;
mod rule;

#[cfg(test)]
mod model;
#[cfg(test)]
mod scenario;

pub use check::{InputCheck, QuotaUse, check_input, check_output, check_update, counted};
pub use data_set::{DataSet, Output, Pad, PlainInput, Proposal, Statement};
pub use policy::{Constraints, SharePolicy};
pub use quota::Spent;
pub use refusal::{Code, Refusal};
pub use rule::{
    BASIS_POINTS, InputRule, MAX_PERIOD_SECS, MAX_USES, OutputRule, OwnerId, ProgramDigest,
    ProgramRule, Quota, QuotaId, RuleError, Schema, Share,
};
