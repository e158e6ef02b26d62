//! Predicts every measurement register of a guest from artefacts, machine shape and application alone.
//!
//! A verifier compares the prediction with what a quote says; equality proves that the guest was built from
//! exactly these inputs, whoever ran it. So nothing here reads evidence, a file, a clock or a network, and an
//! input that cannot be predicted with certainty (an unknown QEMU, an odd file) is an error, never a guess.
//!
//! | register | module | depends on |
//! |---|---|---|
//! | MRTD | [`tdvf`], [`mrtd`] | firmware, QEMU's page order |
//! | RTMR0 | [`td_hob`], [`acpi`], [`FirmwareLayout`] | firmware, shape, QEMU version |
//! | RTMR1 | [`authenticode`], [`kernel_header`] | kernel |
//! | RTMR2 | [`predict_registers`] | command line, initrd |
//! | RTMR3 | [`app`] | application |
//! | MRCONFIGID | [`mr_config`] | application |

#![forbid(unsafe_code)]

pub mod acpi;
pub mod app;
pub mod authenticode;
mod event;
mod facts;
pub mod kernel_header;
pub mod mrtd;
mod predict;
mod profile;
#[cfg(test)]
mod real_evidence;
mod rtmr0;
mod rtmr1;
mod rtmr2;
pub mod td_hob;
pub mod tdvf;

pub use acpi::AcpiBlobs;
pub use app::{App, AppPrediction, Until, predict_app};
pub use event::{Event, Register, replay};
pub use facts::{FactsError, ImageFacts, ImageFiles};
pub use predict::{PredictError, Prediction, Registers, predict_registers};
pub use profile::{LineTrigger, PageOrder, QemuProfile, UnknownQemu};
pub use protocol::mr_config;
pub use protocol::shape::{Shape, ShapeError};
pub use rtmr0::{FirmwareLayout, UnknownLayout};
