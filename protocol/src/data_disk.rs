//! The data disk as host, image and guest know it: its serial and its least size.
//!
//! Which file system it holds says the measured file ([`crate::app_compose::StorageFs`]), how that
//! begins the image ([`crate::disk_template`]). Nothing on the disk itself is asked.

/// `serial` of its virtio-blk device.
pub const DISK_SERIAL: &str = "dstyx-data";
/// Least size: room for a few images. A template (see [`crate::disk_template`]) is an eighth of it.
pub const MIN_BYTES: u64 = 1 << 30;
