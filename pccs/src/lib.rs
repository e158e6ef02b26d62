//! The client of Intel's provisioning certification service, or of a cache of it (PCCS).
//!
//! Source: Intel SGX and Intel TDX Provisioning Certification Service API, version 4. Neither the
//! service nor the network is trusted: time, size and redirections are bounded here, and what comes
//! back is no more than bytes until `attestation` has judged it. So plain HTTP will do as well as
//! HTTPS. Nothing is kept between two calls.

#![forbid(unsafe_code)]

mod answer;
mod error;
mod roots;
mod service;

pub use error::ServiceError;
pub use roots::Roots;
pub use service::{INTEL_PCS, Service};
