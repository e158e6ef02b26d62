//! Servers that lie, are silent, or are far away, and a clock that jumps.

use proptest::prelude::*;

use super::*;
use crate::fixtures::{Kms, NOW, guest};
use crate::guest::Guest;
use crate::nts::Answer;

/// 2026-11-30.
const NOW_SECS: u64 = 1_796_000_000;
const NOW_MS: i64 = 1_796_000_000_000;
const DAY_MS: i64 = 24 * 3600 * 1000;
/// Seconds from 1900 to 1970.
const NTP_SECS: u64 = 2_208_988_800;

/// A server that says this offset, give or take 20 ms.
fn says(offset_ms: i64) -> Sample {
    Sample::between(offset_ms - 20, offset_ms + 20)
}

fn agreed(offset_ms: i64) -> Agreement {
    agree(&[says(offset_ms), says(offset_ms)], 3).unwrap()
}

fn off(agreement: &Agreement, from_ms: i64) -> i64 {
    (agreement.offset_ms - from_ms).abs()
}

/// The time of NTP that many milliseconds after [`NOW_SECS`].
fn ntp(after_ms: u64) -> u64 {
    (NOW_SECS + NTP_SECS) % (1 << 32) * (1 << 32) + after_ms * ((1 << 32) / 1000 + 1)
}

/// A query that left at 1,000 and was answered `taken_ms` later, by a server that is right.
fn exchange(taken_ms: u64) -> Exchange {
    let answer = Answer { received: ntp(0), sent: ntp(0), root_delay: 0, root_dispersion: 0 };
    Exchange {
        answer,
        sent_ms: 1_000,
        received_ms: 1_000 + taken_ms,
        certificate_secs: NOW_SECS - 100..=NOW_SECS + 100,
        not_before_secs: NOW_SECS - 1000,
    }
}

#[test]
fn an_answer_bounds_the_time_by_the_way_that_it_took() {
    let sample = Sample::of(&exchange(40)).unwrap();
    // When it came, the count was 1,040, and the server's time had passed 0 to 40 ms before.
    let range = sample.widened(0);
    assert!(range.contains(&(NOW_MS - 1_040)) && range.contains(&(NOW_MS - 1_000)));
    assert!(range.end() - range.start() < 60);
    assert_eq!(Sample::of(&exchange(2_001)), Err(SampleRefused::RoundTrip(2_001)));
    assert!(Sample::of(&exchange(2_000)).is_ok());
}

#[test]
fn answers_that_cannot_be_bound_nothing() {
    let refused = |change: fn(&mut Exchange)| {
        let mut exchange = exchange(40);
        change(&mut exchange);
        Sample::of(&exchange).unwrap_err()
    };
    let long = refused(|exchange| exchange.answer.sent = ntp(100));
    assert_eq!(long, SampleRefused::Times { stated_ms: 100, taken_ms: 40 });
    let before = refused(|exchange| exchange.answer.received = ntp(100));
    assert!(matches!(before, SampleRefused::Times { stated_ms: -101..=-100, .. }));
    let far = refused(|exchange| exchange.answer.root_dispersion = 2 << 16);
    assert!(matches!(far, SampleRefused::RootDistance(2_000..)));
    for certificate_secs in [0..=NOW_SECS - 1, NOW_SECS + 1..=u64::MAX] {
        let exchange = Exchange { certificate_secs, ..exchange(40) };
        let told_secs = NOW_SECS.cast_signed();
        assert_eq!(Sample::of(&exchange), Err(SampleRefused::Certificate { told_secs }));
    }
}

#[test]
fn the_count_of_ntp_that_begins_anew_in_2036_is_read_by_what_has_passed() {
    let begins_secs = (1 << 32) - NTP_SECS;
    let answer = Answer { received: 5 << 32, sent: 5 << 32, root_delay: 0, root_dispersion: 0 };
    let exchange = Exchange { answer, certificate_secs: 0..=u64::MAX, ..exchange(0) };
    let range = Sample::of(&exchange).unwrap().widened(0);
    assert!(range.contains(&((begins_secs + 5).cast_signed() * 1000 - 1_000)));
}

#[test]
fn one_server_that_lies_is_outvoted_and_one_that_is_silent_is_not_needed() {
    for lie in [-DAY_MS, -2_000, 2_000, 100 * 365 * DAY_MS] {
        let agreement = agree(&[says(0), says(lie), says(10)], 3).unwrap();
        assert!(off(&agreement, 5) < 10, "{lie}: {agreement:?}");
        assert_eq!((agreement.agreeing, agreement.named), (2, 3));
    }
    let agreement = agree(&[says(0), says(10)], 3).unwrap();
    assert!(agreement.bound_ms < 1_000 && off(&agreement, 5) < 10);
    let all = agree(&[says(0), says(5), says(10)], 3).unwrap();
    assert_eq!(all.agreeing, 3);
}

#[test]
fn two_that_lie_differently_or_are_silent_leave_no_time() {
    let refused = agree(&[says(0), says(DAY_MS), says(-DAY_MS)], 3);
    assert_eq!(refused, Err(NoTime::Disagree { agreeing: 1, named: 3, needed: 2 }));
    let refused = agree(&[says(0)], 3);
    assert_eq!(refused, Err(NoTime::Few { answered: 1, named: 3, needed: 2 }));
    assert!(agree(&[], 3).is_err());
    // A majority is counted of all that are named.
    assert!(agree(&[says(0), says(0)], 5).is_err());
    assert!(agree(&[says(0), says(0), says(0)], 5).is_ok());
}

#[test]
fn a_majority_that_lies_later_is_refused_as_a_step_and_what_is_kept_goes_on() {
    let mut kept = Kept::default();
    assert_eq!(kept.at(0), None);
    kept.take(agreed(NOW_MS), 0, NOW_SECS - 1).unwrap();
    let hour = 3600 * 1000;
    for step in [DAY_MS, -DAY_MS, 10_000, -10_000] {
        let refused = kept.take(agreed(NOW_MS + step), hour, NOW_SECS - 86_400 * 2);
        assert!(matches!(refused, Err(StepRefused::Step { step_ms, .. }) if step_ms == step));
    }
    let reading = kept.at(hour).unwrap();
    let Reading::Servers { bound_ms, agreeing: 2, named: 3, .. } = reading else { panic!() };
    assert_eq!(reading.secs(), NOW_SECS + 3600);
    // 500 parts of a million of an hour.
    assert!((1_800..2_400).contains(&bound_ms), "{bound_ms}");
    // Drift and a leap second are believed.
    kept.take(agreed(NOW_MS + 2_500), hour, 0).unwrap();
    assert_eq!(kept.at(hour).unwrap().secs(), NOW_SECS + 3602);
}

#[test]
fn servers_that_say_a_time_before_collateral_that_was_judged_are_not_believed() {
    let mut kept = Kept::default();
    let refused = kept.take(agreed(NOW_MS - DAY_MS), 0, NOW_SECS);
    assert!(matches!(refused, Err(StepRefused::BeforeCollateral { newest_secs: NOW_SECS, .. })));
    assert_eq!(kept.at(0), None);
    let negative = kept.take(agreed(-DAY_MS), 0, 0);
    assert!(matches!(negative, Err(StepRefused::BeforeCollateral { .. })));
    kept.take(agreed(NOW_MS), 0, NOW_SECS).unwrap();
}

#[test]
fn a_time_that_no_server_confirms_for_a_day_is_not_called_verified_and_a_jump_stays_refused() {
    let mut kept = Kept::default();
    kept.take(agreed(NOW_MS), 0, 0).unwrap();
    assert!(kept.at(MAX_AGE_MS).is_some());
    assert_eq!(kept.at(MAX_AGE_MS + 1), None);
    assert!(kept.take(agreed(NOW_MS + DAY_MS), MAX_AGE_MS + 1, 0).is_err());
    kept.take(agreed(NOW_MS), MAX_AGE_MS + 1, 0).unwrap();
    assert!(kept.at(MAX_AGE_MS + 1).is_some());
}

#[test]
fn what_is_told_is_never_before_the_ledger_and_says_what_it_rests_on() {
    let state = State::default();
    let servers = Reading::Servers { time_ms: 5_000, bound_ms: 7, agreeing: 2, named: 3 };
    let answer = told(&state, &servers);
    assert_eq!((answer.time_ms, answer.bound_ms), (5_000, Some(7)));
    assert_eq!(answer.source(), Ok(TimeSource::Servers));
    let answer = told(&state, &Reading::Machine { time_ms: 5_000 });
    assert_eq!((answer.time_ms, answer.source()), (5_000, Ok(TimeSource::Machine)));
    let mut kms = Kms::serving();
    let issued_secs = NOW + 86_400;
    kms.release(&Guest { collateral_issued_secs: issued_secs, ..guest() }).unwrap();
    assert_eq!(kms.state.newest_collateral_secs(), issued_secs);
    for reading in [servers, Reading::Machine { time_ms: NOW * 1000 }] {
        let answer = told(&kms.state, &reading);
        assert_eq!((answer.time_ms, answer.source()), (issued_secs * 1000, Ok(TimeSource::Ledger)));
    }
}

proptest! {
    /// Whatever fewer than half of the servers say, the true time is within the bound.
    #[test]
    fn a_minority_of_liars_moves_the_time_by_no_more_than_the_bound(
        honest in prop::collection::vec((-2_000..=0_i64, 0..=2_000_i64), 3..=4),
        liars in prop::collection::vec((-10_000_i64..10_000, 0..10_000_i64), 0..=3),
    ) {
        let named = honest.len() + liars.len();
        prop_assume!(honest.len() > named / 2);
        let honest = honest.iter().map(|(before, after)| Sample::between(*before, *after));
        let liars = liars.iter().map(|(from, length)| Sample::between(*from, from + length));
        let samples: Vec<_> = liars.chain(honest).collect();
        let agreement = agree(&samples, named).unwrap();
        prop_assert!(agreement.offset_ms.abs() <= agreement.bound_ms, "{agreement:?}");
    }
}
