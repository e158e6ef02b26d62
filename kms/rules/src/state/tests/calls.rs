//! Disks, anchors and certificates.

use proptest::prelude::*;
use protocol::kms::{AnchorRequest, GENERATION_BITS};

use super::super::*;
use crate::fixtures::{FILES, Kms, MEMBER, NOW, guest};
use crate::guest::Guest;
use crate::refused::Refused;

fn try_anchor(kms: &mut Kms, guest: &Guest, counter: u64, generation: u64) -> Result<(), Refused> {
    let request = AnchorRequest { open_counter: counter, generation, epoch: 0, last: false };
    let entry = anchor(&kms.state, guest, &MEMBER, &request, NOW)?;
    kms.append(entry);
    Ok(())
}

fn generation(counter: u64, above: u64) -> u64 {
    (counter << GENERATION_BITS) + above
}

fn running() -> Guest {
    Guest { ready: true, ..guest() }
}

#[test]
fn a_disk_is_opened_after_keys_were_given_and_under_a_new_number_each_time() {
    let mut kms = Kms::serving();
    assert_eq!(kms.open(&guest(), NOW), Err(Refused::InstanceUnknown));
    kms.release(&guest()).unwrap();
    let minutes = (NOW - COUNTERS_SINCE_SECS) / 60;
    assert_eq!(kms.open(&guest(), NOW), Ok(minutes));
    assert_eq!(kms.open(&guest(), NOW), Ok(minutes + 1));
    assert_eq!(kms.open(&guest(), NOW + 59), Ok(minutes + 2));
    assert_eq!(kms.open(&guest(), NOW + 6000), Ok(minutes + 100));
    // A clock that is set back changes nothing.
    assert_eq!(kms.open(&guest(), 0), Ok(minutes + 101));
    assert_eq!(kms.open(&running(), NOW), Err(Refused::Ready));
}

#[test]
fn a_disk_is_opened_by_the_file_that_got_the_keys() {
    let mut kms = Kms::serving();
    kms.release(&guest()).unwrap();
    let newer = Guest { compose_hash: FILES[1], ..guest() };
    let expected = Refused::OtherFile { recorded: FILES[0], found: FILES[1] };
    assert_eq!(kms.open(&newer, NOW), Err(expected));
    kms.release(&newer).unwrap();
    kms.open(&newer, NOW).unwrap();
    assert!(matches!(kms.open(&guest(), NOW), Err(Refused::OlderFile { .. })));
}

#[test]
fn the_last_number_is_the_last() {
    let mut kms = Kms::serving();
    kms.release(&guest()).unwrap();
    kms.state.lowest_counter = u64::MAX >> GENERATION_BITS;
    let last = kms.open(&guest(), NOW).unwrap();
    assert_eq!(generation(last, 0) >> GENERATION_BITS, last);
    assert_eq!(kms.open(&guest(), NOW), Err(Refused::CountersUsedUp(last + 1)));
}

#[test]
fn of_two_live_clones_the_older_one_is_told_to_halt() {
    let mut kms = Kms::serving();
    kms.release(&guest()).unwrap();
    let older = kms.open(&guest(), NOW).unwrap();
    try_anchor(&mut kms, &guest(), older, generation(older, 1)).unwrap();
    let newest = kms.open(&guest(), NOW).unwrap();
    let refused = try_anchor(&mut kms, &running(), older, generation(older, 2)).unwrap_err();
    assert_eq!(refused, Refused::Superseded { found: older, newest });
    assert!(refused.superseded());
    try_anchor(&mut kms, &running(), newest, generation(newest, 1)).unwrap();
}

#[test]
fn an_anchor_is_of_a_mount_that_was_given_and_never_goes_back() {
    let mut kms = Kms::serving();
    let unknown = try_anchor(&mut kms, &guest(), 1, generation(1, 1));
    assert_eq!(unknown, Err(Refused::InstanceUnknown));
    kms.release(&guest()).unwrap();
    let never = try_anchor(&mut kms, &guest(), 1, generation(1, 1));
    assert_eq!(never, Err(Refused::CounterUnknown { found: 1, newest: 0 }));
    let counter = kms.open(&guest(), NOW).unwrap();
    let ahead = try_anchor(&mut kms, &guest(), counter + 1, generation(counter + 1, 1));
    let expected = Refused::CounterUnknown { found: counter + 1, newest: counter };
    assert_eq!(ahead, Err(expected));
    for outside in [generation(counter, 0) - 1, generation(counter + 1, 0), u64::MAX] {
        let expected = Refused::OutsideWindow { generation: outside, counter };
        assert_eq!(try_anchor(&mut kms, &guest(), counter, outside), Err(expected));
    }
    try_anchor(&mut kms, &running(), counter, generation(counter, 9)).unwrap();
    try_anchor(&mut kms, &running(), counter, generation(counter, 9)).unwrap();
    let (found, anchor) = (generation(counter, 8), generation(counter, 9));
    let expected = Refused::AnchorGoesBack { found, anchor };
    assert_eq!(try_anchor(&mut kms, &running(), counter, found), Err(expected));
    let other = Guest { compose_hash: FILES[1], ..running() };
    let expected = Refused::OtherFile { recorded: FILES[0], found: FILES[1] };
    assert_eq!(try_anchor(&mut kms, &other, counter, anchor + 1), Err(expected));
}

#[test]
fn an_anchor_is_taken_from_no_container_and_by_no_process_that_may_not_serve() {
    let mut kms = Kms::serving();
    kms.release(&guest()).unwrap();
    let counter = kms.open(&guest(), NOW).unwrap();
    let (told, stranger) =
        (generation(counter, 1), Guest { reserves_report_data: false, ..running() });
    assert_eq!(try_anchor(&mut kms, &stranger, counter, told), Err(Refused::TagsNotReserved));
    let request = AnchorRequest { open_counter: counter, generation: told, epoch: 0, last: false };
    let other = protocol::digest::Ed25519Key([78; 32]);
    let refused = anchor(&kms.state, &running(), &other, &request, NOW);
    assert_eq!(refused, Err(Refused::NotServing("waiting")));
}

#[test]
fn a_new_file_that_got_keys_takes_the_disk_only_when_it_opens_it() {
    let mut kms = Kms::serving();
    kms.release(&guest()).unwrap();
    let counter = kms.open(&guest(), NOW).unwrap();
    let newer = Guest { compose_hash: FILES[1], ..guest() };
    kms.release(&newer).unwrap();
    try_anchor(&mut kms, &running(), counter, generation(counter, 1)).unwrap();
    kms.open(&newer, NOW).unwrap();
    let refused = try_anchor(&mut kms, &running(), counter, generation(counter, 2)).unwrap_err();
    assert!(refused.superseded(), "{refused}");
}

#[test]
fn a_certificate_is_for_listed_names_of_a_guest_that_has_keys() {
    let mut kms = Kms::serving();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let asked = names(&["app.example", "a.wild.example"]);
    let early = certify(&kms.state, &running(), &MEMBER, &asked, NOW);
    assert_eq!(early, Err(Refused::InstanceUnknown));
    kms.release(&guest()).unwrap();
    certify(&kms.state, &running(), &MEMBER, &asked, NOW).unwrap();
    certify(&kms.state, &running(), &MEMBER, &[], NOW).unwrap();
    for other in ["other.example", "kms:rpc", "app:ca", ""] {
        let refused =
            certify(&kms.state, &running(), &MEMBER, &names(&["app.example", other]), NOW);
        assert_eq!(refused, Err(Refused::NameNotListed(other.to_owned())));
    }
    let privileged = Guest { privileged: true, ..running() };
    let refused = certify(&kms.state, &privileged, &MEMBER, &asked, NOW);
    assert_eq!(refused, Err(Refused::Privileged));
}

/// What a hostile host can make a guest and a clock do.
#[derive(Debug, Clone, Copy)]
enum Step {
    Release { file: usize },
    Open { file: usize },
    Anchor { file: usize, back: u64, above: u64 },
}

fn step() -> impl Strategy<Value = (Step, u64)> {
    let step = prop_oneof![
        (0usize..2).prop_map(|file| Step::Release { file }),
        (0usize..2).prop_map(|file| Step::Open { file }),
        (0usize..2, 0u64..3, 0u64..50).prop_map(|(file, back, above)| Step::Anchor {
            file,
            back,
            above
        }),
    ];
    (step, prop_oneof![Just(0), Just(NOW), NOW..NOW + 3600])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn in_any_order_no_number_is_given_twice_and_neither_anchor_nor_file_goes_back(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut kms = Kms::serving();
        let (mut numbers, mut anchors, mut files) = (Vec::new(), Vec::new(), Vec::new());
        for (step, clock) in steps {
            let of = |file: usize| Guest { compose_hash: FILES[file], ..guest() };
            match step {
                Step::Release { file } => {
                    if let Ok(entry) = release(&kms.state, &of(file), &MEMBER, clock) {
                        kms.append(entry);
                        if files.last() != Some(&file) {
                            prop_assert!(!files.contains(&file), "back to file {file}");
                            files.push(file);
                        }
                    }
                }
                Step::Open { file } => {
                    if let Ok(number) = kms.open(&of(file), clock) {
                        prop_assert!(numbers.last().is_none_or(|last| *last < number));
                        numbers.push(number);
                    }
                }
                Step::Anchor { file, back, above } => {
                    let counter = numbers.last().copied().unwrap_or(5).saturating_sub(back);
                    let told = generation(counter, above);
                    if try_anchor(&mut kms, &of(file), counter, told).is_ok() {
                        prop_assert_eq!(numbers.last(), Some(&counter));
                        prop_assert!(anchors.last().is_none_or(|last| *last <= told));
                        anchors.push(told);
                    }
                }
            }
        }
        let lines = kms.lines();
        prop_assert!(crate::audit::verify(lines.iter().map(String::as_str)).is_ok());
        prop_assert_eq!(State::replay(&kms.entries).unwrap(), kms.state);
    }
}
