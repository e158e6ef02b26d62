//! The sandbox of Pads: policy engines, which run in this process, consumer programs, each of which
//! has a process of its own, and their compiler, which has one too.
//!
//! Faces components of strangers. Nothing is offered to them but the interfaces of `pads/wit`: no
//! WASI, no clock, no randomness, no file, no socket, no environment. Every ceiling that is hit is
//! named, and nothing that a program wrote is part of an error. Which engine decides for a Pad is
//! its SHA-256, which the caller states; no word of the engine's counts.

use std::process::ExitCode;

pub mod artefact;
mod big_endian;
mod bindings;
mod ceilings;
pub mod compile;
pub mod component;
pub mod consumer;
pub mod engines;
pub mod lockdown;
pub mod runner;
pub mod serve;
mod standard;
mod sys;
mod timed;

pub use artefact::{Artefact, Cache, CacheKey};
pub use compile::CompileLimits;
pub use component::Refused;
pub use engines::{EngineError, EngineLimits, Engines, PolicyEngine};
pub use runner::{Role, Runner, Setting};

/// The process of a role, to its end. There is nobody to read an error but the parent process,
/// which sees it end.
pub fn run_role(role: Role, is_isolated: bool) -> ExitCode {
    let ended = match role {
        Role::Consumer => consumer::process::run(is_isolated).is_ok(),
        Role::CompileConsumer => compile::run(&consumer::config(), is_isolated).is_ok(),
        Role::CompileEngine => compile::run(&engines::config(), is_isolated).is_ok(),
        Role::Probe => lockdown::begin(is_isolated).is_ok(),
    };
    if ended { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
