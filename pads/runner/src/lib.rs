//! The sandbox of Pads: policy engines, which run in this process, and consumer programs, each of
//! which has a process of its own.
//!
//! Faces components of strangers. Nothing is offered to them but the interfaces of `pads/wit`: no
//! WASI, no clock, no randomness, no file, no socket, no environment. Every ceiling that is hit is
//! named, and nothing that a program wrote is part of an error. Which engine decides for a Pad is
//! its SHA-256, which the caller states; no word of the engine's counts.

pub mod artefact;
mod big_endian;
mod bindings;
mod ceilings;
pub mod component;
pub mod consumer;
pub mod engines;
pub mod serve;
mod sys;

pub use artefact::{Artefact, Cache, CacheKey};
pub use component::Refused;
pub use engines::{EngineError, EngineLimits, Engines, PolicyEngine};
