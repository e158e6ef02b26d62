//! What a time server, or anybody on the way to it, sends: an answer of the key exchange is whole
//! before it is read, and no datagram tells a time without the key, whatever its form.
#![no_main]

use kms_rules::nts::{Exchanged, KEY_BYTES, MAX_ANSWER_BYTES, Query, Random, is_whole};
use kms_rules::time::{Exchange, MAX_ROUND_TRIP_MS, Sample, agree};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(exchanged) = Exchanged::parse(bytes) {
        assert!(is_whole(bytes) && !exchanged.cookie().is_empty());
        assert!(!is_whole(&bytes[..bytes.len() - 1]), "nothing is behind the last record");
        assert_ne!(exchanged.port(), Some(0));
        // What it gave fits a query, which is no answer to itself.
        let (query, packet) = query(exchanged.cookie());
        assert!(packet.len() <= MAX_ANSWER_BYTES && packet.len() % 4 == 0);
        assert!(query.read(&packet).is_err());
    }
    let (query, _) = query(b"a cookie");
    assert!(query.read(bytes).is_err(), "an answer without the key");
    times(bytes);
});

fn query(cookie: &[u8]) -> (Query, Vec<u8>) {
    let random = Random { transmit: [1; 8], id: [2; 32], nonce: [3; 16] };
    Query::new(&[4; KEY_BYTES], [5; KEY_BYTES].into(), cookie, random)
}

/// Any times of three servers under any count: what they agree on is bounded.
fn times(bytes: &[u8]) {
    let samples: Vec<Sample> = bytes.chunks_exact(48).take(3).filter_map(sample).collect();
    let _ = agree(&samples, 3);
}

fn sample(bytes: &[u8]) -> Option<Sample> {
    let word = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let [low, high] = [word(0), word(8)].map(|secs| secs >> 16);
    let answer = kms_rules::nts::Answer {
        received: word(16),
        sent: word(24),
        root_delay: u32::from(bytes[32]) << 8,
        root_dispersion: u32::from(bytes[33]) << 8,
    };
    let sent_ms = word(40) >> 24;
    let exchange = Exchange {
        answer,
        sent_ms,
        received_ms: sent_ms + u64::from(bytes[34]) * MAX_ROUND_TRIP_MS / 200,
        certificate_secs: low.min(high)..=low.max(high),
        not_before_secs: word(8) >> 24,
    };
    Sample::of(&exchange).ok()
}
