//! The app of a guest: its compose file read strictly, its images by digest, its containers and
//! their network.
//!
//! The compose file, the registries and their mirrors, and every byte of an image come through the
//! untrusted host; what runs in a container is untrusted in its own way. Reading the file
//! ([`compose`]) does no I/O and needs no feature; [`images`] is behind the feature of that name,
//! the rest behind `runtime`.
#![deny(unsafe_code)]

#[cfg(feature = "runtime")]
pub mod app;
#[cfg(feature = "runtime")]
pub mod bundle;
pub mod compose;
#[cfg(feature = "runtime")]
pub mod container;
pub mod digest;
#[cfg(feature = "runtime")]
pub mod end;
#[cfg(feature = "images")]
mod error;
#[cfg(feature = "runtime")]
pub mod helper;
#[cfg(feature = "images")]
pub mod images;
#[cfg(feature = "runtime")]
pub mod network;
#[cfg(feature = "runtime")]
#[allow(unsafe_code)]
mod sys;
