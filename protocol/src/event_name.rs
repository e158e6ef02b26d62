//! The names of RTMR3 events, in the order of a boot, each spelled here and nowhere else.

/// First event of every boot.
pub const SYSTEM_PREPARING: &str = "system-preparing";
/// The application's id (20 bytes).
pub const APP_ID: &str = "app-id";
/// SHA-256 of `app-compose.json` (32 bytes).
pub const COMPOSE_HASH: &str = "compose-hash";
/// The instance's id (20 bytes, or empty).
pub const INSTANCE_ID: &str = "instance-id";
/// The measured file allows the app to depart from the default confinement of containers
/// (`danger_privileged: true`), whether it does or not; absent if the file does not allow it. It
/// stands before [`BOOT_MR_DONE`], so that it is known before a key is released.
pub const DANGER_PRIVILEGED: &str = "danger-privileged";
/// Everything that a key release depends on has been measured.
pub const BOOT_MR_DONE: &str = "boot-mr-done";
/// The image hash that a KMS verified (32 bytes); absent without a KMS.
pub const OS_IMAGE_HASH: &str = "os-image-hash";
/// JSON `{"name":…,"id":…}` of who gave the keys.
pub const KEY_PROVIDER: &str = "key-provider";
/// The data disk's file system.
pub const STORAGE_FS: &str = "storage-fs";
/// Last event of a boot; whatever follows belongs to the application.
pub const SYSTEM_READY: &str = "system-ready";

/// Every name that the boot uses or reserves, in its order; each occurs at most once in a log.
pub const BOOT: [&str; 10] = [
    SYSTEM_PREPARING,
    APP_ID,
    COMPOSE_HASH,
    INSTANCE_ID,
    DANGER_PRIVILEGED,
    BOOT_MR_DONE,
    OS_IMAGE_HASH,
    KEY_PROVIDER,
    STORAGE_FS,
    SYSTEM_READY,
];

/// The events without which a log is not one of a dstyx boot, in order: those that init
/// records in every boot.
pub const REQUIRED: [&str; 5] = [SYSTEM_PREPARING, APP_ID, COMPOSE_HASH, INSTANCE_ID, BOOT_MR_DONE];

/// Whether an event's digest has one reading with this name: the digest joins name and payload with
/// a colon, and a control character lets a name look like another one.
pub fn is_unambiguous(name: &str) -> bool {
    !name.contains(|c: char| c == ':' || c.is_control())
}

/// Place of `name` in the boot's order, if it is one of the boot's.
pub fn boot_position(name: &str) -> Option<usize> {
    BOOT.iter().position(|known| *known == name)
}
