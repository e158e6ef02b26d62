//! The steps of an issuance, in their order and out of it.

use super::*;
use crate::fixtures::{Made, certificate, entry};

const NOW: u64 = 1_000_000;
const NAMES: [&str; 2] = ["example.org", "*.example.org"];

fn base() -> BaseDomain {
    BaseDomain::new("example.org".parse().unwrap(), "authority.example".parse().unwrap())
}

fn account() -> Account {
    let uri = "https://authority.example/acct/1";
    Account::new("https://authority.example/dir", uri, [1; 32]).unwrap()
}

fn published() -> AccountPublished {
    let named = AccountNamed::new(account());
    named.published(&entry(Subject::Account(account()))).unwrap()
}

fn views(records: Vec<Caa>) -> Views {
    Views { provider: Some(records.clone()), resolvers: [records.clone(), records] }
}

fn bound() -> CaaBound {
    let published = published();
    let plan = published.plan(&base(), &[], &[]);
    published.read_back(base(), views(plan.add), &[]).unwrap()
}

fn issued(made: &Made) -> Result<Issued, StepError> {
    bound().order(made.spki.clone()).unwrap().issued(vec![made.der.clone()], NOW)
}

fn servable(made: &Made) -> Servable {
    let issued = issued(made).unwrap();
    let entry = entry(Subject::Leaf(issued.leaf().clone()));
    issued.published(&entry).unwrap()
}

fn made() -> Made {
    certificate(&NAMES, NOW as i64 - 60, NOW as i64 + 1_000)
}

#[test]
fn a_certificate_is_served_after_every_step_and_renewed_under_the_same_records() {
    let made = made();
    let servable = servable(&made);
    assert_eq!(servable.chain(), [made.der]);
    // The second time the records are there already.
    let published = published();
    let records = Binding::new(base().issuer.clone(), account().uri()).records().to_vec();
    assert_eq!(published.plan(&base(), &records, &[]), Plan::default());
    assert!(published.read_back(base(), views(records), &[]).is_ok());
}

#[test]
fn evidence_about_another_account_or_key_is_none() {
    let other =
        Account::new("https://authority.example/dir", "https://authority.example/2", [1; 32]);
    let other = entry(Subject::Account(other.unwrap()));
    let refused = AccountNamed::new(account()).published(&other);
    assert!(matches!(refused, Err(StepError::OtherEvidence(_))));
    let of_account = entry(Subject::Account(account()));
    let refused = issued(&made()).unwrap().published(&of_account);
    assert!(matches!(refused, Err(StepError::OtherEvidence(_))));
    let foreign = issued(&made()).unwrap();
    let foreign = entry(Subject::Leaf(foreign.leaf().clone()));
    let refused = issued(&made()).unwrap().published(&foreign);
    assert!(matches!(refused, Err(StepError::OtherEvidence(_))));
}

#[test]
fn records_that_a_resolver_does_not_see_stop_the_order() {
    let published = published();
    let add = published.plan(&base(), &[], &[]).add;
    let views = Views { provider: Some(add.clone()), resolvers: [add, Vec::new()] };
    let refused = published.read_back(base(), views, &[]);
    assert!(matches!(refused, Err(StepError::ReadBack(Disagreement::Missing { .. }))));
}

#[test]
fn others_who_may_issue_are_known_and_stop_nothing() {
    let published = published();
    let mut records = published.plan(&base(), &[], &[]).add;
    records.push(Caa::new(0, "issue", b"other.example").unwrap());
    let bound = published.read_back(base(), views(records), &[]).unwrap();
    assert_eq!(bound.others().len(), 1);
}

#[test]
fn a_certificate_for_another_key_name_or_time_is_not_served() {
    let ordered = bound().order(made().spki).unwrap();
    let other_key = ordered.issued(vec![made().der], NOW);
    assert_eq!(other_key, Err(StepError::OtherKey));
    let fewer = certificate(&NAMES[..1], NOW as i64, NOW as i64 + 9);
    assert!(matches!(issued(&fewer), Err(StepError::OtherNames { .. })));
    let more = certificate(&["example.org", "*.example.org", "b.org"], NOW as i64, NOW as i64 + 9);
    assert!(matches!(issued(&more), Err(StepError::OtherNames { .. })));
    let expired = certificate(&NAMES, 0, NOW as i64 - 1);
    assert!(matches!(issued(&expired), Err(StepError::OtherTime { .. })));
    let a_year_ahead = certificate(&NAMES, NOW as i64 + 31_536_000, NOW as i64 + 41_536_000);
    assert!(matches!(issued(&a_year_ahead), Err(StepError::OtherTime { .. })));
    let nothing = bound().order(made().spki).unwrap().issued(Vec::new(), NOW);
    assert!(matches!(nothing, Err(StepError::Certificate(_))));
}

#[test]
fn a_stored_certificate_that_has_expired_or_is_for_another_key_is_not_loaded() {
    let made = made();
    let entry = entry(Subject::Leaf(issued(&made).unwrap().leaf().clone()));
    let restore = |spki: &[u8], now| Servable::restore(&entry, spki, vec![made.der.clone()], now);
    assert!(restore(&made.spki, NOW).is_ok());
    assert!(matches!(restore(b"another", NOW), Err(StepError::OtherEvidence(_))));
    assert!(matches!(restore(&made.spki, NOW + 2_000), Err(StepError::OtherTime { .. })));
}

#[test]
fn what_was_served_goes_on_beside_a_failure_until_it_expires() {
    let mut standing = Standing::default();
    let failed = || Failed { step: Step::ReadBack, why: "no answer".to_owned(), at_secs: NOW };
    standing.fail(failed());
    assert_eq!(standing.served(NOW), None);
    standing.serve(servable(&made()));
    assert_eq!(standing.failure(), None);
    standing.fail(failed());
    assert!(standing.served(NOW).is_some());
    assert_eq!(standing.failure().unwrap().to_string(), "reading the CAA records back: no answer");
    assert_eq!(standing.served(NOW + 2_000), None, "it has expired");
}
