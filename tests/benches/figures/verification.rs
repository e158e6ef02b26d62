//! One quote judged, beside dcap-qvl alone on the same bytes; both start from collateral that has
//! been parsed.

use std::time::{Duration, Instant};

use attestation::policy::ExpectedReportData;
use attestation::{CheckName, CheckVerdict, Collateral, Policy, TrustAnchor, judge};
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::verify::QuoteVerifier;
use protocol::{fixtures, quote};
use tests::samples;

use super::{median, row, timed};

/// A time at which the collateral of the quote is good.
const NOW_SECS: u64 = 1_751_328_000;
/// Verifications of each kind, interleaved.
const VERIFICATIONS: usize = 301;
/// How long one core verifies without a pause.
const BURST: Duration = Duration::from_secs(2);

/// Prints both rows.
pub fn verifications() {
    let [quote, collateral] = samples::V4.map(samples::bytes);
    let evidence = fixtures::evidence_of(quote::without_padding(&quote).unwrap());
    let policy = Policy::strict(TrustAnchor::Intel, ExpectedReportData::Unstated(String::new()));
    let theirs: QuoteCollateralV3 = serde_json::from_slice(&collateral).unwrap();
    let collateral = Collateral::parse(&collateral).unwrap();
    let ours = || judge(&evidence, &policy, Some(&collateral), NOW_SECS);
    assert_eq!(ours().check(CheckName::TcbStatus).unwrap().verdict, CheckVerdict::Pass);
    let alone = || QuoteVerifier::new_prod().verify(&evidence.quote, &theirs, NOW_SECS).unwrap();
    let runs: Vec<_> = (0..VERIFICATIONS).map(|_| (timed(ours), timed(alone))).collect();
    let (ours_took, alone_took) =
        (median(runs.iter().map(|(ours, _)| *ours)), median(runs.iter().map(|(_, alone)| *alone)));
    let ratio = ours_took.as_secs_f64() / alone_took.as_secs_f64();
    let milliseconds = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
    let peer = format!("dcap-qvl alone: {}", milliseconds(alone_took));
    row("one quote judged", &milliseconds(ours_took), &peer, Some(ratio), "≤ 1.20x");

    let (start, mut count) = (Instant::now(), 0_u32);
    while start.elapsed() < BURST {
        timed(ours);
        count += 1;
    }
    let rate = f64::from(count) / start.elapsed().as_secs_f64();
    row("quotes judged a second, one core", &format!("{rate:.0}"), "", None, "");
}
