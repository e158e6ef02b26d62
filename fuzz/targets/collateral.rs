//! Collateral: what is accepted survives its own JSON; what is judged never makes evidence without
//! a log believable.
#![no_main]

use attestation::policy::ExpectedReportData;
use attestation::{CheckName, CheckVerdict, Collateral, Policy, TrustAnchor, Verdict, judge};
use libfuzzer_sys::fuzz_target;
use protocol::fixtures;

/// 2026-11-21T06:00:00Z, when the emulator made quote and collateral.
const NOW: u64 = 1_795_240_800;
const QUOTE: &[u8] = include_bytes!("../corpus/quote/emulated-v4");
/// The root of both: worthless, its key is published.
const ROOT: &[u8] = include_bytes!("../../tdx-emulator/root/danger-emulated-root.der");

fuzz_target!(|json: &[u8]| {
    let Ok(accepted) = Collateral::parse(json) else { return };
    assert_eq!(Collateral::parse(&accepted.to_json()), Ok(accepted.clone()));
    let anchor = TrustAnchor::DangerEmulated(ROOT.to_vec());
    let policy = Policy::strict(anchor, ExpectedReportData::Unstated(String::new()));
    let report = judge(&fixtures::evidence_of(QUOTE), &policy, Some(&accepted), NOW);
    assert_eq!(report.verdict, Verdict::Fail);
    let came_to = |name, verdict| report.check(name).is_some_and(|row| row.verdict == verdict);
    // What dcap-qvl believes was signed by the CAs that ours ask for.
    if came_to(CheckName::QuoteVerification, CheckVerdict::Pass) {
        for name in
            [CheckName::CrlIssuer, CheckName::TcbInfoSignature, CheckName::QeIdentitySignature]
        {
            assert!(
                !came_to(name, CheckVerdict::Fail),
                "{} refused what dcap-qvl accepts",
                name.name()
            );
        }
    }
});
