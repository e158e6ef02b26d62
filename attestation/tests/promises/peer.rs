//! Verdicts beside those of dcap-qvl alone: never laxer, equal where only its rules apply, stricter
//! where `docs/verification.md` says so.

use std::collections::BTreeSet;

use attestation::policy::ExpectedReportData;
use attestation::{Appraisal, CheckName, CheckVerdict, Collateral, Policy, TrustAnchor, judge};
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{QuoteCollateralV3, TcbStatus};
use protocol::quote;

use crate::der;
use crate::forge::{DAY, Forge, NOW};
use crate::real::{self, JULY_2025, MARCH_2026, OCTOBER_2026};

/// The page whose table is checked here.
const PAGE: &str = include_str!("../../../docs/verification.md");
/// Changes of each sample; a prime apart, so that each part of quote and collateral gets some.
const QUOTE_STEP: usize = 61;
const COLLATERAL_STEP: usize = 211;

/// dcap-qvl's own verdict: the TCB status, if it accepts.
fn theirs(root: &[u8], quote: &[u8], collateral: &QuoteCollateralV3, now: u64) -> Option<String> {
    QuoteVerifier::new(root.to_vec())
        .verify(quote, collateral, now)
        .ok()
        .map(|report| report.status)
}

/// Ours, of what dcap-qvl judges: the first row that is not passed.
fn ours(appraisal: &Appraisal) -> Option<CheckName> {
    let mut hardware = appraisal.checks.iter().filter(|row| row.name < CheckName::EventLog);
    hardware.find(|row| row.verdict == CheckVerdict::Fail).map(|row| row.name)
}

fn judged(quote: &[u8], collateral: &[u8], now: u64) -> Option<CheckName> {
    let policy = Policy::strict(TrustAnchor::Intel, ExpectedReportData::Unstated(String::new()));
    let Ok(collateral) = Collateral::parse(collateral) else {
        return Some(CheckName::CollateralFormat);
    };
    let appraisal = judge(&real::evidence(quote), &policy, Some(&collateral), now);
    let failed = ours(&appraisal);
    assert!(
        failed.is_some()
            || appraisal
                .check(CheckName::TcbStatus)
                .is_some_and(|row| row.verdict == CheckVerdict::Pass)
    );
    failed
}

/// Both verdicts on the same bytes; what dcap-qvl accepts must be up to date to count as accepted.
#[track_caller]
fn compare(what: &str, quote: &[u8], collateral: &[u8], now: u64) -> (bool, Option<CheckName>) {
    let parsed = serde_json::from_slice::<QuoteCollateralV3>(collateral).ok();
    let status =
        parsed.and_then(|parsed| theirs(attestation::INTEL_SGX_ROOT_CA, quote, &parsed, now));
    let accepted = status.is_some_and(|status| status == TcbStatus::UpToDate.to_string());
    let refused_by = judged(quote, collateral, now);
    assert!(accepted || refused_by.is_some(), "{what}: accepted by us alone");
    (accepted, refused_by)
}

fn samples() -> [(&'static str, &'static [u8], &'static [u8], u64); 3] {
    [
        ("v4", real::v4(), real::v4_collateral(), JULY_2025),
        ("v5 extended", real::v5_extended(), real::v5_extended_collateral(), OCTOBER_2026),
        ("v5 outdated", real::v5_outdated(), real::v5_outdated_collateral(), MARCH_2026),
    ]
}

#[test]
fn the_same_verdict_on_every_sample_at_every_time() {
    for (name, sample, collateral, good) in samples() {
        let sample = quote::without_padding(sample).unwrap();
        for now in [
            0,
            good - 400 * DAY,
            good - 40 * DAY,
            good,
            good + 40 * DAY,
            good + 4000 * DAY,
            4_000_000_000,
        ] {
            let (accepted, refused_by) = compare(name, sample, collateral, now);
            assert_eq!(accepted, refused_by.is_none(), "{name} at {now}: {refused_by:?}");
        }
    }
}

/// The boundaries to the second: a document's last second is its next update, a list's the one
/// before.
#[test]
fn the_same_verdict_in_the_first_and_last_second() {
    let sample = quote::without_padding(real::v4()).unwrap();
    let collateral: QuoteCollateralV3 = serde_json::from_slice(real::v4_collateral()).unwrap();
    let (mut last_good, mut first_bad) = (JULY_2025, JULY_2025 + 400 * DAY);
    while first_bad - last_good > 1 {
        let middle = last_good + (first_bad - last_good) / 2;
        let good = theirs(attestation::INTEL_SGX_ROOT_CA, sample, &collateral, middle).is_some();
        *(if good { &mut last_good } else { &mut first_bad }) = middle;
    }
    assert_eq!(judged(sample, real::v4_collateral(), last_good), None);
    assert!(judged(sample, real::v4_collateral(), first_bad).is_some());
}

/// A changed bit anywhere in quote or collateral: the same verdict, but where a row of the page's
/// table refuses.
#[test]
fn the_same_verdict_on_changed_bytes() {
    let stricter: BTreeSet<_> = documented().into_iter().map(|(name, _)| name).collect();
    let mut both_refused = 0;
    let mut agree = |what: String, quote: &[u8], collateral: &[u8], now| {
        let (accepted, refused_by) = compare(&what, quote, collateral, now);
        match refused_by {
            None => assert!(accepted, "{what}"),
            Some(name) if accepted => {
                assert!(stricter.contains(name.name()), "{what}: {} is undocumented", name.name())
            }
            Some(_) => both_refused += 1,
        }
    };
    for (name, sample, collateral, now) in [samples()[0], samples()[1]] {
        let sample = quote::without_padding(sample).unwrap();
        for at in (0..sample.len()).step_by(QUOTE_STEP) {
            let mut changed = sample.to_vec();
            changed[at] ^= 1 << (at % 8);
            agree(format!("{name}, bit at {at} of the quote"), &changed, collateral, now);
        }
        for at in (0..collateral.len()).step_by(COLLATERAL_STEP) {
            let mut changed = collateral.to_vec();
            changed[at] ^= 1 << (at % 3);
            agree(format!("{name}, bit at {at} of the collateral"), sample, &changed, now);
        }
    }
    assert!(both_refused > 100, "{both_refused}");
}

/// What is forged.
type Change = fn(&mut Forge);

/// Where ours refuse what dcap-qvl accepts: by which check, and how that is made.
fn stricter() -> Vec<(CheckName, Change)> {
    use CheckName::*;
    vec![
        (AttestationKey, |f| f.qe_report_tail = 1),
        (TrustAnchor, |f| f.shown_root = Some(attestation::INTEL_SGX_ROOT_CA.to_vec())),
        (PckCertificates, |f| f.pck_ca_usage = Some([1, 0x02])),
        (CertificateValidity, |f| f.root_until = NOW - DAY),
        (CollateralFormat, |f| f.behind_signers = vec![vec![0x30, 0]]),
        (CrlComplete, |f| f.pck_crl_extension = Some(der::DISTRIBUTION_POINT)),
        (CrlCurrent, |f| f.crls_from = NOW + DAY),
        (TcbInfoPlatform, |f| f.stated_pce = "0001"),
        (TdAttributes, |f| f.td_attributes |= 1 << 63),
        (ServiceTd, |f| (f.body_type, f.extension[181]) = (4, 1)),
        (TdPartition, |f| (f.body_type, f.extension[0]) = (4, 1)),
        (Pks, |f| f.td_attributes |= 1 << 30),
        (Xfam, |f| f.xfam |= 1 << 40),
        (SeamAttributes, |f| (f.module_attributes, f.seam_attributes) = (1, 1)),
        (MrSignerSeam, |f| (f.module_signer, f.mr_signer_seam) = (1, [1; 48])),
        (TcbStatus, |f| f.tcb_status = "OutOfDate"),
        (TcbStatus, |f| f.current_tee_tcb_svn[2] = 1),
        (TcbStatus, |f| f.qe_status = "ConfigurationNeeded"),
    ]
}

#[test]
fn stricter_in_each_documented_way() {
    for (refused_by, change) in stricter() {
        let mut forge = Forge::honest();
        change(&mut forge);
        let root = forge.root();
        let mut policy = forge.policy();
        policy.anchor = attestation::TrustAnchor::DangerEmulated(root.clone());
        let collateral: QuoteCollateralV3 =
            serde_json::from_value(forge.collateral_json()).unwrap();
        let theirs = theirs(&root, &forge.quote(), &collateral, NOW);
        assert!(theirs.is_some(), "{} is not stricter: dcap-qvl refuses too", refused_by.name());
        let appraisal = judge(&forge.evidence(), &policy, Some(&forge.collateral()), NOW);
        assert_eq!(ours(&appraisal), Some(refused_by));
    }
}

/// Padding and SGX quotes are read by dcap-qvl as well.
#[test]
fn stricter_about_what_is_a_quote_at_all() {
    let padded = real::v4();
    assert_ne!(quote::without_padding(padded).unwrap().len(), padded.len());
    let policy = Policy::strict(TrustAnchor::Intel, ExpectedReportData::Unstated(String::new()));
    for (name, bytes, collateral, now) in [
        (CheckName::QuoteFormat, padded, real::v4_collateral(), JULY_2025),
        (CheckName::TeeType, real::sgx(), real::sgx_collateral(), JULY_2025),
    ] {
        let parsed: QuoteCollateralV3 = serde_json::from_slice(collateral).unwrap();
        assert!(
            theirs(attestation::INTEL_SGX_ROOT_CA, bytes, &parsed, now).is_some(),
            "{}",
            name.name()
        );
        let mut evidence = real::evidence(bytes);
        evidence.quote = bytes.to_vec();
        let appraisal =
            judge(&evidence, &policy, Some(&Collateral::parse(collateral).unwrap()), now);
        assert_eq!(ours(&appraisal), Some(name));
    }
}

/// Rows of the page's table: check and test.
fn documented() -> Vec<(&'static str, &'static str)> {
    let section = PAGE.split("## Stricter than dcap-qvl").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cell =
        |line: &'static str, at: usize| line.split('|').nth(at).unwrap().trim().trim_matches('`');
    rows.map(|line| (cell(line, 1), cell(line, 4))).collect()
}

#[test]
fn the_page_lists_exactly_the_ways_in_which_ours_are_stricter() {
    let tested: BTreeSet<_> = stricter()
        .iter()
        .map(|(name, _)| name.name())
        .chain(["quote-format", "tee-type"])
        .collect();
    let rows = documented();
    assert_eq!(rows.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>(), tested);
    for (name, test) in rows {
        assert!(
            include_str!("peer.rs").contains(&format!("fn {test}()")),
            "{name}: no test {test}"
        );
    }
}
