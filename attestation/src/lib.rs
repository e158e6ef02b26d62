//! The judgement: evidence, policy, collateral and a time in, an appraisal or [`VerifiedEvidence`] out.
//!
//! Pure: no socket, no file, no clock, no key. It faces everybody who can send bytes: the host that
//! owns the guest, other tenants with true quotes of their own, and networks that hand out
//! collateral. [`judge`] makes every check that it can and says of each what was expected and
//! found; [`verify`] gives a fact only if all of them pass. Registers are compared with predictions
//! that the caller brings; computing them is `measurement`'s.

#![forbid(unsafe_code)]

mod anchor;
mod appraisal;
mod certificate;
mod check_rows;
mod checks;
mod collateral;
mod distinguished_name;
mod ecdsa;
mod judgement;
mod platform_key;
pub mod policy;
mod refusal;
mod signature_data;
pub mod signatures;
mod summary;
mod time;

pub use anchor::{INTEL_SGX_ROOT_CA, TrustAnchor};
pub use appraisal::{AnchorName, Appraisal, Check, CheckVerdict, EMULATED, Facts, SCOPE, Verdict};
pub use checks::app::MeasuredApp;
pub use collateral::{Collateral, CollateralError, MAX_BYTES as MAX_COLLATERAL_BYTES};
pub use judgement::{VerifiedEvidence, judge, verify};
pub use platform_key::{IssuingCa, PlatformKey, PlatformKeyError, platform_key};
pub use policy::Policy;
pub use refusal::{CheckName, Finding, Refusal};
pub use summary::{Span, Summary, SummaryError};
