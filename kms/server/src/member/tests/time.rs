//! Times: the host sets the clock, and what was seen before is not forgotten.

use kms_rules::nts::Answer;
use kms_rules::time::{Agreement, Exchange, Sample, agree};
use protocol::kms::{GetTimeRequest, GetTimeResponse, TimeServer, TimeSource};

use crate::judge::Rules as _;

use super::*;

fn time(member: &Member) -> Result<GetTimeResponse, MemberError> {
    call(member, &of(1), Request::GetTime(GetTimeRequest {}))
}

/// What three servers agree on that say this when the count is 0.
fn agreed(secs: u64) -> Agreement {
    let ntp = (secs + 2_208_988_800) << 32;
    let answer = Answer { received: ntp, sent: ntp, root_delay: 0, root_dispersion: 0 };
    let (certificate_secs, not_before_secs) = (0..=u64::MAX, secs);
    let exchange =
        Exchange { answer, sent_ms: 0, received_ms: 0, certificate_secs, not_before_secs };
    agree(&[Sample::of(&exchange).unwrap(); 3], 3).unwrap()
}

#[test]
fn a_clock_that_is_set_back_judges_nobody_by_an_earlier_time() {
    let data = tempfile::tempdir().unwrap();
    let (member, _) = Place::new(data.path(), 1, 1).serving();
    let built = 1_700_000_000; // a clock at the build date
    let last = member.inner().unwrap().state().last_secs();
    assert_eq!(member.terms(built).unwrap().now_secs, last);
    // Collateral of a later issue was seen: Intel's time is past that.
    let issued = last + 20 * 24 * 3600;
    let newer = Guest { collateral_issued_secs: issued, ..guest(1) };
    let request = Request::GetAppKey(GetAppKeyRequest::default());
    let _: AppKeyResponse = call(&member, &Caller::Guest(Box::new(newer)), request).unwrap();
    assert_eq!(member.terms(built).unwrap().now_secs, issued);
    assert_eq!(member.terms(issued + 1).unwrap().now_secs, issued + 1);
}

#[test]
fn a_guest_is_told_a_time_that_is_never_before_what_was_seen_and_what_it_rests_on() {
    let data = tempfile::tempdir().unwrap();
    let (member, _) = Place::new(data.path(), 1, 1).serving();
    let told = time(&member).unwrap();
    assert_eq!((told.source(), told.bound_ms), (Ok(TimeSource::Machine), None));
    let clock = member.clock().secs().unwrap();
    assert!((clock - 5..=clock).contains(&(told.time_ms / 1000)));
    // This machine's clock is behind the collateral that Intel has issued.
    let issued = clock + 20 * 24 * 3600;
    let newer = Guest { collateral_issued_secs: issued, ..guest(1) };
    let request = Request::GetAppKey(GetAppKeyRequest::default());
    let _: AppKeyResponse = call(&member, &Caller::Guest(Box::new(newer)), request).unwrap();
    let told = time(&member).unwrap();
    assert_eq!((told.time_ms, told.source()), (issued * 1000, Ok(TimeSource::Ledger)));
}

#[test]
fn where_time_servers_are_named_nothing_is_decided_about_guests_before_they_agreed() {
    let data = tempfile::tempdir().unwrap();
    let mut place = Place::new(data.path(), 1, 1);
    let (member, shares) = place.serving();
    drop(member);
    place.config.time_servers = TimeServer::parse_all("a,b,c").unwrap();
    let member = place.start();
    let share = Request::GiveShare(shares[0].clone());
    let status: StatusResponse = call(&member, &place.owner(0), share).unwrap();
    assert_eq!(status.state, "waiting");
    let resume = Request::Resume(place.resumption(&status));
    let _: StatusResponse = call(&member, &place.owner(0), resume).unwrap();
    assert_eq!(place.status(&member).state, "serving");

    assert_eq!(crate::judge::Rules::clock_secs(&member), None);
    assert_eq!(place.status(&member).time, None);
    let policy = call(&member, &place.owner(0), Request::SetPolicy(place.policy(2)));
    let policy = policy.map(|_: StatusResponse| ());
    for refused in [policy, keys(&member, 1).map(drop), time(&member).map(drop)] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.status(), UNAVAILABLE_STATUS);
        assert!(refused.to_string().contains("does not know the time"), "{refused}");
    }
    // The machine's clock counts for nothing: the policy is judged by what the servers say.
    let now = Clock::of_machine().secs().unwrap();
    let passed = member.passed();
    assert!(passed.not_before_secs >= now - 60 && passed.newest_collateral_secs == 0);
    let clock = member.clock();
    clock.take(agreed(now + 7200), clock.count_ms(), passed.newest_collateral_secs).unwrap();
    assert!(keys(&member, 1).unwrap_err().to_string().contains("policy"), "it has expired");
    let told = place.status(&member).time.unwrap();
    assert_eq!((told.source(), told.agreeing, told.named), (Ok(TimeSource::Servers), 3, 3));
    let told = time(&member).unwrap();
    assert_eq!((told.source(), told.agreeing, told.named), (Ok(TimeSource::Servers), 3, 3));
    assert!((now + 7200..now + 7260).contains(&(told.time_ms / 1000)));
}
