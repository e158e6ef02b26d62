//! Calls to a running gateway: without a nonce that it gave out none counts, and one counts once.
#![no_main]

use std::time::Duration;

use gateway_rules::admin::{Nonces, RawCall, judge};
use libfuzzer_sys::fuzz_target;
use protocol::digest::InstanceId;

fuzz_target!(|bytes: &[u8]| {
    let now = (Duration::ZERO, 0);
    let Ok(raw) = serde_json::from_slice::<RawCall>(bytes) else {
        assert!(judge(bytes, InstanceId([0; 20]), &mut Nonces::default(), now).is_err());
        return;
    };
    assert!(judge(bytes, raw.gateway, &mut Nonces::default(), now).is_err());
    let mut nonces = Nonces::default();
    nonces.give(raw.nonce.0, Duration::ZERO);
    if judge(bytes, raw.gateway, &mut nonces, now).is_ok() {
        assert!(judge(bytes, raw.gateway, &mut nonces, now).is_err());
    }
});
