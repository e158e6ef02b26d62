//! The ledger of a KMS: lines of anybody, by themselves and behind a true beginning. What is
//! accepted has one spelling, rises in index and time, and gives no open counter twice.
#![no_main]

use std::collections::BTreeMap;

use kms::ledger::{self, Entry, Kind};
use kms::state::{State, bootstrap};
use libfuzzer_sys::fuzz_target;
use protocol::digest::Ed25519Key;
use protocol::kms::Cluster;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let lines: Vec<&str> = text.lines().collect();
    if let Ok(summary) = ledger::verify(lines.iter().copied()) {
        assert_eq!(summary.entries, lines.len() as u64);
        assert!(summary.first_secs <= summary.last_secs);
    }
    let owners = vec![Ed25519Key([1; 32])];
    let cluster = Cluster { name: "fuzz".into(), owners, threshold: 1 };
    let key = Ed25519Key([2; 32]);
    let mut state = State::default();
    let first = bootstrap(&state, &cluster, key, key, 0).expect("there is no root yet");
    state.apply(&first).expect("what was decided can be applied");
    let mut counters = BTreeMap::new();
    for line in lines {
        let Ok(entry) = Entry::parse(line) else { continue };
        assert_eq!(entry.to_line(), line);
        // Chained here, so that the rules behind the chain are reached too.
        let (index, previous) = (state.entries(), state.head());
        let entry = Entry { index, previous, ..entry };
        let before = state.clone();
        if state.apply(&entry).is_err() {
            assert_eq!(state, before);
            continue;
        }
        assert!(state.last_secs() >= before.last_secs());
        assert!(state.head() != before.head());
        // No owner signed anything.
        assert!(state.policy().is_none() && state.list().is_none());
        if let Kind::Opened(opened) = &entry.kind {
            let key = (opened.who.app_id, opened.who.instance_id);
            let last = counters.insert(key, opened.counter);
            assert!(last.is_none_or(|last| last < opened.counter));
        }
    }
});
