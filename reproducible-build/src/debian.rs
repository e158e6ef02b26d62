//! What this crate knows of Debian: its archive's indices, its version order, the
//! closure of dependencies, and the host's own apt configuration.
//!
//! Nothing here runs a Debian tool; the host may be another distribution.

pub mod apt;
pub mod index;
pub mod relation;
pub mod resolve;
pub mod version;
