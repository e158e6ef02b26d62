//! What the tests of promises share; the promises themselves are in `tests/`, a file each.

#![forbid(unsafe_code)]
// Nothing here is a product: what fails shall end the test where it fails.
#![allow(clippy::unwrap_used)]

pub mod any_certificate;
pub mod app;
pub mod browser;
pub mod btrfs;
pub mod chrony;
pub mod clients;
pub mod dice;
pub mod dstyx;
pub mod emulated;
pub mod etcd;
pub mod guest;
pub mod http;
pub mod https;
pub mod images;
pub mod knot;
pub mod lab;
pub mod mirror;
pub mod nbd;
pub mod pccs;
pub mod pebble;
pub mod peers;
pub mod qemu_probe;
pub mod registry;
pub mod rig;
pub mod samples;
pub mod scene;
pub mod served_disk;
pub mod stranger;
#[path = "../../tdx-emulator/tests/support/synthetic.rs"]
mod synthetic;
pub mod tpm;
pub mod wire;
pub mod xts;
