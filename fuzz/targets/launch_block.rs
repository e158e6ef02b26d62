//! The launch block: what is accepted is the only block of its content.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use protocol::launch::{self, Launch, RawLaunch};

fuzz_target!(|disk: &[u8]| {
    let Ok(launch) = launch::decode(disk) else { return };
    assert_eq!(disk.len() % launch::SECTOR_BYTES, 0);
    // The JSON may have been written with other spaces, which can make it too long once written again.
    if let Ok(again) = launch::encode(&raw(&launch)) {
        assert_eq!(launch::decode(&again), Ok(launch));
    }
});

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
