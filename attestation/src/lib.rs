//! The judgement: evidence, policy, collateral and a time in, an appraisal or [`VerifiedEvidence`]
//! out.
//!
//! Pure: no socket, no file, no clock, no key. It faces everybody who can send bytes: the host that
//! owns the guest, other tenants with true quotes of their own, and networks that hand out
//! collateral. [`judge`] makes every check that it can and says of each what was expected and
//! found; its [`Appraisal`] yields a fact only if all of them pass. [`appraise`]
//! joins an image and a stated machine to the registers that the evidence must show, which
//! `measurement` predicts, and judges by them.

#![forbid(unsafe_code)]

mod anchor;
mod appraisal;
mod certificate;
mod check_rows;
mod checks;
mod collateral;
mod distinguished_name;
mod ecdsa;
mod image;
mod judgement;
mod keeping;
pub mod kms;
pub mod owner;
mod platform_key;
pub mod policy;
mod predictions;
mod reference;
mod refusal;
pub mod release_statement;
pub mod released;
mod signature_data;
pub mod signatures;
mod stated;
mod summary;
mod time;
mod verified;
mod vouched;

pub use anchor::{AnchorName, INTEL_SGX_ROOT_CA, TrustAnchor};
pub use appraisal::{
    AGE_UNKNOWN, Appraisal, Check, CheckVerdict, EMULATED, FACTS_BELIEVED, Facts, SCOPE, Verdict,
};
pub use collateral::{Collateral, CollateralError, MAX_BYTES as MAX_COLLATERAL_BYTES};
pub use image::{DstackParts, Image, ImageFault, Parts};
pub use judgement::{appraise, judge};
pub use keeping::{NotKept, Wanted};
pub use platform_key::{IssuingCa, PlatformKey, PlatformKeyError, platform_key};
pub use policy::Policy;
pub use reference::{Predicted, StatedImage, expected_registers, predicted};
pub use refusal::{CheckName, Finding, Link, Refusal};
pub use stated::{StatedFirmware, StatedMachine};
pub use summary::{Span, Summary, SummaryError};
pub use verified::{
    KeyProvider, MeasuredApp, MeasuredBoot, Storage, VerifiedEvidence, VerifiedImage,
    VerifiedPlatform, VerifiedTcb,
};
pub use vouched::{NotVouched, Release};
