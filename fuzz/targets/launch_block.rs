//! The launch block: what is accepted is the same after encoding it again.
//!
//! The input is tried as a disk, and as the content of a disk whose header and digest are right: an
//! engine does not find SHA-256 preimages, an attacker computes the digest.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use protocol::digest::Sha256Digest;
use protocol::launch::{self, Launch, RawLaunch};

fuzz_target!(|bytes: &[u8]| {
    judge(bytes);
    judge(&disk_of(bytes));
});

fn judge(disk: &[u8]) {
    let Ok(launch) = launch::decode(disk) else { return };
    assert_eq!(disk.len() % launch::SECTOR_BYTES, 0);
    // Written again without spaces and with escapes of our own, it can only fail for its size.
    if let Ok(again) = launch::encode(&raw(&launch)) {
        assert_eq!(launch::decode(&again), Ok(launch));
    }
}

fn disk_of(json: &[u8]) -> Vec<u8> {
    let mut disk = launch::MAGIC.to_vec();
    disk.extend(launch::VERSION.to_le_bytes());
    disk.extend((json.len() as u32).to_le_bytes());
    disk.extend(Sha256Digest::of(json).0);
    disk.extend(json);
    disk.resize(disk.len().next_multiple_of(launch::SECTOR_BYTES), 0);
    disk
}

fn raw(launch: &Launch) -> RawLaunch {
    RawLaunch {
        app_compose: STANDARD.encode(&launch.app_compose),
        app_id: launch.app_id,
        instance_id_seed: hex::encode(launch.instance_id_seed),
        kms_urls: launch.kms_urls.clone(),
        gateway_urls: launch.gateway_urls.clone(),
        registry_mirrors: launch.registry_mirrors.clone(),
        encrypted_env: launch.encrypted_env.as_ref().map(|bytes| STANDARD.encode(bytes)),
        claims: launch.claims.clone(),
    }
}
