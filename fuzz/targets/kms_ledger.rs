//! The ledger of a KMS: lines of anybody, by themselves and behind a true beginning. What is
//! accepted has one spelling, rises in index and time, and gives no open counter twice; what is
//! refused changes nothing.
#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use attestation::signatures::{Envelope, PayloadType, SigningKey};
use kms_rules::audit;
use kms_rules::ledger::{Entry, Kind};
use kms_rules::state::{State, bootstrap, certify_root, set_list, set_policy};
use libfuzzer_sys::fuzz_target;
use protocol::digest::Ed25519Key;
use protocol::kms::{Cluster, payload_type};
use serde_json::json;

/// A KMS that serves: root, list and policy are signed.
static BEGINNING: LazyLock<State> = LazyLock::new(|| {
    let key = SigningKey::from_seed(&[1; 32]);
    let owners = vec![key.signer().key()];
    let cluster = Cluster { name: "fuzz".into(), owners, threshold: 1 };
    let signed = |payload_type, document: serde_json::Value| {
        let payload = document.to_string().into_bytes();
        let mut envelope = Envelope::new(PayloadType(payload_type), payload);
        envelope.sign(&key);
        envelope.to_json()
    };
    let (id, identity) = (cluster.id(), Ed25519Key([2; 32]));
    let root = json!({ "key_provider_id": id, "epoch": 1, "identity": identity });
    let digest = "03".repeat(32);
    let images = json!([{ "os_image_hash": digest, "compose_hash": digest }]);
    let list = json!({ "key_provider_id": id, "version": 1, "images": images });
    let policy = json!({
        "key_provider_id": id, "version": 1, "not_before_secs": 0, "not_after_secs": 9,
        "apps": [], "os_images": [],
    });
    let mut state = State::default();
    let mut append = |decide: &dyn Fn(&State) -> Entry| {
        let entry = decide(&state);
        state.apply(&entry).expect("what was decided can be applied");
    };
    const WHY: &str = "the owner signed it";
    append(&|state| bootstrap(state, &cluster, identity, identity, 0).expect("no root is there"));
    let root = signed(payload_type::ROOT, root);
    append(&|state| certify_root(state, &root, 0).expect(WHY));
    let list = signed(payload_type::LIST, list);
    append(&|state| set_list(state, &list, 0).expect(WHY));
    let policy = signed(payload_type::POLICY, policy);
    append(&|state| set_policy(state, &policy, 0).expect(WHY));
    state
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let lines: Vec<&str> = text.lines().collect();
    if let Ok(summary) = audit::verify(lines.iter().copied()) {
        assert_eq!(summary.entries, lines.len() as u64);
        assert!(summary.first_secs <= summary.last_secs);
    }
    let mut state = BEGINNING.clone();
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
        assert!(state.last_secs() >= before.last_secs() && state.head() != before.head());
        // The owner signed nothing more.
        let documents = (state.root_envelope(), state.list_envelope(), state.policy());
        let expected = (BEGINNING.root_envelope(), BEGINNING.list_envelope(), BEGINNING.policy());
        assert_eq!(documents, expected);
        if let Kind::Opened(opened) = &entry.kind {
            let key = (opened.who.app_id, opened.who.instance_id);
            let last = counters.insert(key, opened.counter);
            assert!(last.is_none_or(|last| last < opened.counter));
        }
    }
});
