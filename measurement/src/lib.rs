//! Predicts every measurement register of a guest from artefacts, machine shape and application
//! alone.
//!
//! A verifier compares the prediction with what a quote says; equality proves that the guest was
//! built from exactly these inputs, whoever ran it. So no prediction reads evidence, a file, a
//! clock or a network, and an input that cannot be predicted with certainty (an unknown QEMU, an
//! odd file) is an error, never a guess.
//!
//! | register | module | depends on |
//! |---|---|---|
//! | MRTD | [`tdvf`], [`mrtd`] | firmware, QEMU's page order |
//! | RTMR0 | [`td_hob`], [`acpi`], [`FirmwareLayout`] | firmware, shape, QEMU version |
//! | RTMR1 | [`authenticode`], [`kernel_header`] | kernel |
//! | RTMR2 | [`predict_registers`] | command line, initrd |
//! | RTMR3 | [`app`] | application |
//! | MRCONFIGID | [`mr_config`] | application |
//!
//! [`dstack_image`] reads the facts of dstack's images; [`explain`] says why a register is not as
//! predicted.

#![forbid(unsafe_code)]

pub mod acpi;
pub mod app;
pub mod authenticode;
mod command_line;
pub mod dstack_image;
mod event;
pub mod explain;
mod facts;
pub mod kernel_header;
mod layout;
pub mod mrtd;
mod predict;
mod predict_error;
mod profile;
#[cfg(test)]
mod real_evidence;
mod rtmr0;
mod rtmr1;
mod rtmr2;
pub mod td_hob;
pub mod tdvf;
mod variable_store;

pub use acpi::AcpiBlobs;
pub use app::{App, AppPrediction, Until, predict_app};
pub use command_line::CommandLine;
pub use event::{Event, Origin, Register, replay};
pub use facts::{FactsError, ImageFacts, ImageFiles, PartsAtHand};
pub use layout::{FirmwareLayout, UnknownLayout};
pub use predict::{EachRegister, Prediction, Registers, predict_each, predict_registers};
pub use predict_error::PredictError;
pub use profile::{Compared, LineTrigger, PageOrder, QemuProfile, UnknownQemu};
pub use protocol::mr_config;
pub use protocol::shape::{Shape, ShapeError};
