//! Guests that end with their release statement.

use protocol::kms::{AnchorRequest, GENERATION_BITS, MAX_RELEASE_SECS};

use super::super::*;
use crate::fixtures::{
    FILES, Kms, MEMBER, NOW, guest, policy_app, policy_file, resumption, signed,
};
use crate::guest::Guest;
use crate::policy::PolicyFile;
use crate::refused::Refused;

/// A guest whose measured file says that it ends with its statement, while it boots.
fn stopping() -> Guest {
    Guest { stops: true, ..guest() }
}

fn try_anchor(kms: &mut Kms, guest: &Guest, last: bool, now: u64) -> Result<(), Refused> {
    let mount = kms.state.instances()[&(guest.app_id, guest.instance_id)].mount().unwrap();
    let (open_counter, epoch) = (mount.counter, 0);
    let request =
        AnchorRequest { open_counter, generation: open_counter << GENERATION_BITS, epoch, last };
    let entry = anchor(&kms.state, guest, &MEMBER, &request, now)?;
    kms.append(entry);
    Ok(())
}

/// The end of the newest mount's statement.
fn stated(kms: &Kms, guest: &Guest, now: u64) -> Result<u64, Refused> {
    let mount = kms.state.instances()[&(guest.app_id, guest.instance_id)].mount().unwrap();
    let statement = release_statement(&kms.state, guest, &MEMBER, mount.counter, now)?;
    Ok(statement.not_after_secs)
}

/// A KMS whose guest ends with its statement, and has its disk open.
fn opened() -> Kms {
    let mut kms = Kms::serving();
    kms.release(&stopping()).unwrap();
    kms.open(&stopping(), NOW).unwrap();
    kms
}

#[test]
fn the_disk_of_a_guest_that_ends_with_its_statement_is_opened_again_when_that_has_ended() {
    let mut kms = opened();
    try_anchor(&mut kms, &stopping(), false, NOW).unwrap();
    let until_secs = NOW + MAX_RELEASE_SECS;
    assert_eq!(stated(&kms, &stopping(), NOW), Ok(until_secs));
    for (now, remaining_secs) in
        [(NOW, MAX_RELEASE_SECS + 1), (until_secs - 1, 2), (until_secs, 1), (0, 3601)]
    {
        let held = Refused::Held { until_secs, remaining_secs };
        // The file of the earlier guest decides, not that of the guest that asks.
        for waiting in [stopping(), guest()] {
            let refused = open_disk(&kms.state, &waiting, &MEMBER, now).unwrap_err();
            assert_eq!(refused, held, "{now}");
            assert!(refused.held() && !refused.superseded() && !refused.hint().is_empty());
            assert!(refused.to_string().contains(&format!("{remaining_secs} s more")));
        }
    }
    kms.open(&guest(), until_secs + 1).unwrap();
    State::replay(&kms.entries).unwrap();
}

#[test]
fn each_renewal_moves_the_end_and_no_statement_holds_beyond_what_the_ledger_has() {
    let mut kms = opened();
    let none = open_disk(&kms.state, &stopping(), &MEMBER, NOW);
    assert!(none.is_ok(), "nothing of the app runs before the first anchor: {none:?}");
    let counter = kms.state.instances().values().next().unwrap().mount().unwrap().counter;
    assert_eq!(stated(&kms, &stopping(), NOW), Err(Refused::Unstated(counter)));
    try_anchor(&mut kms, &stopping(), false, NOW).unwrap();
    try_anchor(&mut kms, &stopping(), false, NOW + 120).unwrap();
    let until_secs = NOW + 120 + MAX_RELEASE_SECS;
    // Asked for again without an anchor, it gets no longer.
    assert_eq!(stated(&kms, &stopping(), NOW + 600), Ok(until_secs));
    let late = stated(&kms, &stopping(), until_secs + 1);
    assert_eq!(late, Err(Refused::Unstated(counter)));
    let held = open_disk(&kms.state, &stopping(), &MEMBER, until_secs);
    assert_eq!(held, Err(Refused::Held { until_secs, remaining_secs: 1 }));
}

#[test]
fn a_guest_that_ends_in_order_says_so_and_gives_its_disk_free() {
    let mut kms = opened();
    try_anchor(&mut kms, &stopping(), false, NOW).unwrap();
    try_anchor(&mut kms, &stopping(), true, NOW + 1).unwrap();
    let counter = kms.state.instances().values().next().unwrap().mount().unwrap().counter;
    // It has said that nothing runs; so nothing more is stated of it, and no anchor counts.
    assert_eq!(stated(&kms, &stopping(), NOW + 1), Err(Refused::Ended(counter)));
    let again = try_anchor(&mut kms, &stopping(), false, NOW + 2);
    assert_eq!(again, Err(Refused::Ended(counter)));
    kms.open(&stopping(), NOW + 2).unwrap();
    try_anchor(&mut kms, &stopping(), false, NOW + 2).unwrap();
    State::replay(&kms.entries).unwrap();
}

#[test]
fn a_guest_that_goes_on_without_its_kms_holds_nothing_whatever_it_says() {
    let mut kms = Kms::serving();
    kms.release(&guest()).unwrap();
    kms.open(&guest(), NOW).unwrap();
    for last in [false, true] {
        try_anchor(&mut kms, &guest(), last, NOW).unwrap();
        let Kind::Anchored(anchored) = &kms.entries.last().unwrap().kind else { panic!("anchor") };
        assert_eq!((anchored.stated_until_secs, anchored.last), (None, false));
        assert_eq!(stated(&kms, &guest(), NOW), Ok(NOW + MAX_RELEASE_SECS));
    }
    kms.open(&stopping(), NOW).unwrap();
}

#[test]
fn a_guest_that_would_get_no_keys_is_anchored_and_its_statement_is_not_renewed() {
    let mut kms = opened();
    try_anchor(&mut kms, &stopping(), false, NOW).unwrap();
    // The owners took the app's file back.
    let mut app = policy_app();
    app.compose_hashes = vec![FILES[1]];
    kms.set_policy(&PolicyFile { apps: vec![app], ..policy_file(2) });
    try_anchor(&mut kms, &stopping(), false, NOW + 120).unwrap();
    let Kind::Anchored(anchored) = &kms.entries.last().unwrap().kind else { panic!("the anchor") };
    assert_eq!(anchored.stated_until_secs, None);
    let newer = Guest { compose_hash: FILES[1], ..stopping() };
    kms.release(&newer).unwrap();
    let until_secs = NOW + MAX_RELEASE_SECS;
    let held = open_disk(&kms.state, &newer, &MEMBER, until_secs);
    assert_eq!(held, Err(Refused::Held { until_secs, remaining_secs: 1 }));
    kms.open(&newer, until_secs + 1).unwrap();
}

#[test]
fn a_statement_that_ends_with_the_policy_is_waited_for_no_longer() {
    let mut kms = opened();
    let end = NOW + 60;
    kms.set_policy(&PolicyFile { not_after_secs: end, ..policy_file(2) });
    try_anchor(&mut kms, &stopping(), false, NOW).unwrap();
    assert_eq!(stated(&kms, &stopping(), NOW), Ok(end));
    kms.set_policy(&policy_file(3));
    let held = open_disk(&kms.state, &stopping(), &MEMBER, end);
    assert_eq!(held, Err(Refused::Held { until_secs: end, remaining_secs: 1 }));
    kms.open(&stopping(), end + 1).unwrap();
}

#[test]
fn after_a_loss_of_state_statements_that_may_be_missing_are_waited_for() {
    let mut kms = opened();
    let member = Ed25519Key([78; 32]);
    let document = resumption(&kms.state, member);
    let envelope = signed(protocol::kms::payload_type::RESUMPTION, &document, &[0, 1]);
    let entry = resume(&kms.state, &envelope, &member, NOW + 10).unwrap();
    kms.append(entry);
    let until_secs = NOW + 10 + MAX_RELEASE_SECS;
    let open = |guest: &Guest, now| open_disk(&kms.state, guest, &member, now);
    let held = Err(Refused::Held { until_secs, remaining_secs: 1 });
    assert_eq!((open(&stopping(), until_secs), open(&guest(), until_secs)), (held.clone(), held));
    assert!(open(&stopping(), until_secs + 1).is_ok());
    // Where no guest of the instance ends with its statement, there is nothing to wait for.
    let mut other = Kms { state: kms.state.clone(), entries: Vec::new() };
    let second = Guest { instance_id: None, ..guest() };
    let mut file = policy_file(2);
    file.apps[0].instances = crate::policy::Instances::Number(2);
    other.set_policy(&file);
    other.append(release(&other.state, &second, &member, NOW + 20).unwrap());
    assert!(open_disk(&other.state, &second, &member, NOW + 20).is_ok());
    let stopping = Guest { stops: true, ..second };
    let held = Refused::Held { until_secs, remaining_secs: until_secs + 1 - (NOW + 20) };
    assert_eq!(open_disk(&other.state, &stopping, &member, NOW + 20), Err(held));
}

#[test]
fn a_ledger_in_which_a_guest_s_end_is_not_waited_for_or_reaches_too_far_is_refused() {
    let mut kms = opened();
    let opening = kms.entries.len() - 1;
    try_anchor(&mut kms, &stopping(), false, NOW).unwrap();
    let next = |kind| {
        let (index, previous) = (kms.state.entries(), kms.state.head());
        kms.state.clone().apply(&Entry { index, previous, time_secs: NOW, kind })
    };
    let Kind::Opened(opened) = &kms.entries[opening].kind else { panic!("the opening") };
    let mut again = opened.clone();
    again.counter += 1;
    assert!(next(Kind::Opened(again)).unwrap_err().to_string().contains("an earlier guest has"));
    let Kind::Anchored(anchored) = &kms.entries[opening + 1].kind else { panic!("the anchor") };
    let until = |until| {
        let mut other = anchored.clone();
        (other.stated_until_secs, other.last) = until;
        next(Kind::Anchored(other)).map_err(|error| error.to_string())
    };
    let longest = NOW + MAX_RELEASE_SECS;
    until((Some(longest), false)).unwrap();
    until((None, true)).unwrap();
    for wrong in [(Some(longest + 1), false), (Some(NOW - 1), false), (Some(longest), true)] {
        assert!(until(wrong).unwrap_err().contains("a release statement until"));
    }
    // Of a guest that goes on without its KMS.
    let mut kms = Kms::serving();
    kms.release(&guest()).unwrap();
    kms.open(&guest(), NOW).unwrap();
    try_anchor(&mut kms, &guest(), false, NOW).unwrap();
    for (stated_until_secs, last) in [(Some(longest), false), (None, true)] {
        let Kind::Anchored(mut other) = kms.entries.last().unwrap().kind.clone() else { panic!() };
        (other.stated_until_secs, other.last) = (stated_until_secs, last);
        let (index, previous) = (kms.state.entries(), kms.state.head());
        let entry = Entry { index, previous, time_secs: NOW, kind: Kind::Anchored(other) };
        assert!(
            kms.state.clone().apply(&entry).unwrap_err().to_string().contains("behind its end")
        );
    }
}
