//! A policy: what is accepted is as strict as no policy at all, but for what it tolerates by name
//! and until a date.
#![no_main]

use attestation::TrustAnchor;
use attestation::policy::{
    AcceptedTcb, ExpectedReportData, MAX_RULES_BYTES, Policy, Rules, TcbStatus, td_attributes,
};
use libfuzzer_sys::fuzz_target;

/// Attributes that no policy may tolerate.
const NEVER: u64 = td_attributes::DEBUG | td_attributes::MIGRATABLE | td_attributes::SERVTD_EXT;

fuzz_target!(|text: &[u8]| {
    let Ok(rules) = Rules::parse(text) else { return };
    assert!(text.len() <= MAX_RULES_BYTES);
    assert_eq!(Rules::parse(text), Ok(rules.clone()));
    let policy = rules.into_policy(TrustAnchor::Intel, ExpectedReportData::Unstated(String::new()));
    let dates: Vec<_> = policy.td.accepted.iter().map(|accepted| accepted.until_secs).collect();
    assert_eq!(policy.td.accepted_at(0) & NEVER, 0);
    if let Some(last) = dates.iter().max() {
        assert_eq!(policy.td.accepted_at(last.saturating_add(1)), 0);
    }
    for AcceptedTcb { status, advisory_ids, .. } in &policy.platform.accepted_tcb {
        assert!(!matches!(status, TcbStatus::UpToDate | TcbStatus::Revoked));
        assert!(advisory_ids.iter().all(|id| id.starts_with("INTEL-SA-")));
    }
    let strict = Policy::strict(policy.anchor.clone(), ExpectedReportData::Unstated(String::new()));
    assert_eq!(
        (policy.report_data, policy.image, policy.app),
        (strict.report_data, strict.image, strict.app)
    );
});
