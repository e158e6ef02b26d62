//! The app of a guest, driven: its services' containers, their order and restarts, and their
//! network.
//!
//! The compose file is read by `compose`, images come from `container-images`, and each container
//! belongs to a process of `container-helper`. What runs in a container is untrusted.
#![forbid(unsafe_code)]

pub mod app;
pub mod bundle;
pub mod container;
mod launcher;
pub mod network;
#[cfg(test)]
mod testing;
