//! What tests of this crate and benches of others start from: a cluster whose owners they hold, and
//! a KMS in an emulated guest with its clients.
//!
//! No product has this module: it exists in tests, and for crates that name the feature in their
//! development dependencies.

pub use crate::member::fixtures::pads::PadOwner;
pub use crate::member::fixtures::{Place, guest};
pub use crate::server::fixtures::{Running, Setup, ask, connect};
