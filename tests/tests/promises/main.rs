//! Promises that need programs and tools but no booted guest, in one program: each further test
//! program links everything that judges once more.

#![allow(clippy::unwrap_used)] // a test whose input cannot be built has failed

mod acpi_matches_qemu;
mod collateral;
mod cross_check;
mod foreign_evidence;
mod image_files;
mod initramfs;
mod key_release;
mod kms_identity;
mod pad_vectors;
mod policy_file;
mod refusals;
mod releases;
mod report_page;
mod terminal;
mod threats_page;
mod verdicts_of_files;
mod vmm_arguments;
