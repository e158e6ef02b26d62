//! Pins and proof: the lock files, the hermetic builder, and two builds compared byte by byte.
//!
//! Everything that ends in the image is made by a [`recipe`](recipe) from inputs that the
//! lock names by digest, in a root that holds nothing of the host, without network. The
//! attacker here is whoever serves the inputs and whatever differs between two machines.

#![forbid(unsafe_code)]

pub mod accepted;
pub mod archive;
pub mod builder;
pub mod cache;
pub mod compare;
pub mod debian;
pub mod digest;
pub mod fetch;
pub mod lock;
pub mod program;
pub mod progress;
pub mod qemu;
pub mod rebuild;
pub mod recipe;
pub mod root;
pub mod rust;
pub mod sandbox;
pub mod source;
pub mod tls;
pub mod update;
pub mod variation;

mod timestamp;
