//! The judgement: whatever the bytes of a quote are, it ends, judges every check, and believes none
//! of them.
//!
//! The input is a quote, and behind a line end the JSON of a log if there is one, beside the
//! emulator's collateral. An engine without the keys cannot make a quote that verifies with the log
//! and the image that are asked for, so a verdict other than a refusal is a hole.
#![no_main]

use std::sync::LazyLock;

use attestation::policy::ExpectedReportData;
use attestation::{CheckName, CheckVerdict, Collateral, Policy, TrustAnchor, Verdict, judge};
use libfuzzer_sys::fuzz_target;
use protocol::{event_log, fixtures};

/// 2026-11-21T06:00:00Z, when the emulator made the collateral.
const NOW: u64 = 1_795_240_800;
/// Its root: worthless, its key is published.
const ROOT: &[u8] = include_bytes!("../../tdx-emulator/root/danger-emulated-root.der");

static COLLATERAL: LazyLock<Collateral> = LazyLock::new(|| {
    let json = include_bytes!("../corpus/collateral/emulated.json");
    Collateral::parse(json).expect("a checked-in seed parses")
});

/// Where the log begins.
const LOG: &[u8] = b"\n[{";

fuzz_target!(|input: &[u8]| {
    let log = input.windows(LOG.len()).rposition(|window| window == LOG).unwrap_or(input.len());
    let (quote, log) = input.split_at(log);
    let mut evidence = fixtures::evidence_of(quote);
    evidence.event_log = event_log::parse(log).unwrap_or_default();
    let anchor = TrustAnchor::DangerEmulated(ROOT.to_vec());
    let policy = Policy::strict(anchor, ExpectedReportData::Unstated(String::new()));
    let report = judge(&evidence, &policy, Some(&COLLATERAL), NOW);
    // The seeds are honest evidence of the emulator's, but nothing says which image it must run.
    assert_ne!(report.verdict, Verdict::Pass);
    assert!(report.checks.is_sorted_by_key(|row| row.name));
    // dcap-qvl accepts nothing whose signatures our own checks find wrong. They may not get that
    // far: dcap-qvl does not read the last certificate of a chain, and ours refuse a chain in which
    // one cannot be read.
    let came_to = |name, verdict| report.check(name).is_some_and(|row| row.verdict == verdict);
    if came_to(CheckName::QuoteVerification, CheckVerdict::Pass) {
        for name in
            [CheckName::QuoteSignature, CheckName::AttestationKey, CheckName::QeReportSignature]
        {
            assert!(
                !came_to(name, CheckVerdict::Fail),
                "{} refused what dcap-qvl accepts",
                name.name()
            );
        }
    }
});
