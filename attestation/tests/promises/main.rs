//! What the judgement promises: real evidence of its time is accepted and refused today, and every
//! lie has its own refusal.

#![allow(clippy::unwrap_used)] // a test whose input cannot be built has failed

mod der;
mod forge;
mod peer;
mod policy_page;
mod real;
mod refusals;
#[path = "../../../tests/src/samples.rs"]
mod samples;
mod shape_of_appraisal;
