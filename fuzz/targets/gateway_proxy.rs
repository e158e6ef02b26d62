//! Headers of the PROXY protocol: one that is read is complete and no longer than its bytes, and
//! its ends survive both versions.
#![no_main]

use gateway_rules::proxy_protocol::{Version, read, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(Some(header)) = read(bytes) else { return };
    assert!(header.bytes <= bytes.len() && header.bytes <= 16 + 2048);
    // What follows belongs to the client, and changes nothing; one byte less is no header.
    assert_eq!(read(&bytes[..header.bytes]), Ok(Some(header)));
    assert_eq!(read(&bytes[..header.bytes - 1]), Ok(None));
    let Some(ends) = header.ends else { return };
    let of = |version| read(&write(version, ends)).expect("ours").expect("whole").ends;
    let found = of(Version::V1).expect("ends");
    assert_eq!(of(Version::V2), Some(found));
    assert_eq!(found.source.ip().to_canonical(), ends.source.ip().to_canonical());
    assert_eq!(found.destination.port(), ends.destination.port());
});
