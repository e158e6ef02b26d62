//! What is in the image: kernel and firmware configuration, the file manifest with size ceilings,
//! assembly.
//!
//! Runs on the builder's machine, which is not trusted by anybody: whoever wants to know what an
//! image is builds it again and compares. So everything here is a function of the checkout and of
//! `inputs.lock`; what must be compiled is a [recipe](recipes) for the hermetic builder. Nothing
//! here contacts a network, reads a clock or holds a secret.

#![forbid(unsafe_code)]

pub mod app_compose_file;
pub mod apps;
pub mod cmdline;
pub mod initrd;
pub mod kconfig;
pub mod manifest;
pub mod newc;
pub mod notices;
pub mod oci;
pub mod pads;
pub mod recipes;
pub mod release;

mod assembly;
mod error;

pub use assembly::{BuiltImage, build, directory};
pub use error::BuildImageError;
