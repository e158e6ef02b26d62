//! Predicts.
#![forbid(unsafe_code)]
pub mod acpi;
pub mod profile;
