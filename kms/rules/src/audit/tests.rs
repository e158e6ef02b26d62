//! Which lines are a ledger.

use proptest::prelude::*;
use protocol::strict_json::JsonError;

use super::*;
use crate::fixtures::{INSTANCE, Kms, MEMBER, NOW, cluster, guest};
use crate::ledger::{Call, Fault, MAX_LINE_BYTES};
use crate::state::{anchor, refusal};
use crate::{Guest, Refused};

/// A ledger with an entry of every kind but a resumption.
fn kms() -> Kms {
    let mut kms = Kms::serving();
    kms.release(&guest()).unwrap();
    let counter = kms.open(&guest(), NOW).unwrap();
    let request = protocol::kms::AnchorRequest {
        open_counter: counter,
        generation: (counter << protocol::kms::GENERATION_BITS) + 5,
        epoch: 0,
        last: false,
    };
    let entry = anchor(&kms.state, &guest(), &MEMBER, &request, NOW).unwrap();
    kms.append(entry);
    let other = Guest { ready: true, ..guest() };
    let entry = refusal(&kms.state, &other, Call::GetAppKey, &Refused::Ready, NOW).unwrap();
    kms.append(entry);
    kms
}

fn verify_lines(lines: &[String]) -> Result<Summary, LedgerError> {
    verify(lines.iter().map(String::as_str))
}

#[test]
fn a_whole_ledger_is_verified_and_counted() {
    let kms = kms();
    let summary = verify_lines(&kms.lines()).unwrap();
    let expected = Summary {
        key_provider_id: Some(cluster().id()),
        entries: 8,
        head: kms.state.head(),
        first_secs: NOW - 100,
        last_secs: NOW,
        released: 1,
        refused: 1,
        instances: 1,
        policy_version: 1,
    };
    assert_eq!(summary, expected);
    assert_eq!(verify([]).unwrap().entries, 0);
    let again = State::replay(&kms.entries).unwrap();
    assert_eq!(again, kms.state);
}

#[test]
fn a_line_that_is_missing_moved_repeated_or_changed_is_named() {
    let lines = kms().lines();
    let refused = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = lines.clone();
        change(&mut lines);
        verify_lines(&lines).unwrap_err()
    };
    let missing = refused(&|lines| drop(lines.remove(3)));
    assert_eq!((missing.index, &missing.what), (3, &Fault::Index { found: 4 }));
    let repeated = refused(&|lines| lines.insert(4, lines[4].clone()));
    assert_eq!((repeated.index, &repeated.what), (5, &Fault::Index { found: 4 }));
    let moved = refused(&|lines| lines.swap(5, 6));
    assert_eq!(moved.index, 5);
    let spelled = refused(&|lines| lines[4].insert(1, ' '));
    assert_eq!((spelled.index, &spelled.what), (4, &Fault::Spelling));
    // Another instance: the line is one by itself, and the next no longer follows it.
    let other = "cc".repeat(20);
    let own = INSTANCE.to_string();
    let changed = refused(&|lines| lines[4] = lines[4].replace(&own, &other));
    assert_eq!(changed.index, 5);
    assert!(matches!(changed.what, Fault::Previous { .. }), "{changed}");
}

#[test]
fn a_ledger_that_is_chained_anew_has_no_other_policy_time_or_counter() {
    let kms = kms();
    let rewritten = |place: usize, change: &dyn Fn(&mut Entry)| {
        let mut state = State::default();
        for (index, entry) in kms.entries.iter().enumerate() {
            let mut entry = Entry { previous: state.head(), ..entry.clone() };
            if index == place {
                change(&mut entry);
            }
            state.apply(&entry)?;
        }
        Ok::<_, LedgerError>(())
    };
    assert_eq!(rewritten(0, &|_| {}), Ok(()));
    let back = rewritten(4, &|entry| entry.time_secs = NOW - 101).unwrap_err();
    assert_eq!((back.index, back.what), (4, Fault::Time { found: NOW - 101, previous: NOW - 100 }));
    let policy = rewritten(3, &|entry| {
        let Kind::PolicySet(document) = &mut entry.kind else { panic!("the policy") };
        document.envelope = document.envelope.replacen("sig\":\"", "sig\":\"AAAA", 2);
    });
    assert_eq!(policy.unwrap_err().index, 3);
    let counter = rewritten(5, &|entry| {
        let Kind::Opened(opened) = &mut entry.kind else { panic!("the opening") };
        opened.counter = 1;
    });
    assert_eq!(counter.unwrap_err().index, 5);
    let generation = rewritten(6, &|entry| {
        let Kind::Anchored(anchored) = &mut entry.kind else { panic!("the anchor") };
        anchored.generation = u64::MAX;
    });
    assert_eq!(generation.unwrap_err().index, 6);
    let by_none = rewritten(4, &|entry| {
        let Kind::Released(released) = &mut entry.kind else { panic!("the release") };
        released.policy_version = 2;
    });
    assert_eq!(by_none.unwrap_err().index, 4);
}

#[test]
fn long_lines_and_unknown_kinds_are_no_entries() {
    let long = " ".repeat(MAX_LINE_BYTES + 1);
    assert!(matches!(Entry::parse(&long), Err(Fault::Json(JsonError::TooLarge { .. }))));
    let line = kms().lines().pop().unwrap();
    for other in [line.replace("refused", "allowed"), line.replace("\"call\"", "\"calls\"")] {
        assert!(matches!(Entry::parse(&other), Err(Fault::Json(_))), "{other}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_flipped_bit_anywhere_but_in_the_last_line_is_noticed(
        place in any::<proptest::sample::Index>(),
        bit in 0u8..7,
    ) {
        let lines = kms().lines();
        let (last, before) = lines.split_last().unwrap();
        let mut bytes = before.join("\n").into_bytes();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        let Ok(text) = String::from_utf8(bytes) else { return Ok(()) };
        let lines = text.split('\n').chain([last.as_str()]);
        prop_assert!(verify(lines).is_err());
    }
}
