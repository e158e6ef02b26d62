//! Promise: each file of `tests/vectors`, and each sample of the pinned dcap-qvl crate, has the
//! verdict that is written here, row by row; all others are refused as no evidence.
//!
//! A change of the judgement shows here first. None of these verdicts is a pass: nothing is stated
//! of the image and the app, and the samples are of guests that measure no events as ours do.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use protocol::foreign;
use tests::dstyx::{Answer, User};
use tests::samples::{self, SGX, V4, V5_EXTENDED, V5_OUTDATED};
use tests::stranger::{NOW, vector};

/// Rows that take collateral.
const COLLATERAL: [&str; 16] = [
    "collateral-format",
    "collateral-signers",
    "crl-complete",
    "crl-current",
    "crl-issuer",
    "qe-identity",
    "qe-identity-current",
    "qe-identity-signature",
    "quote-verification",
    "revocation",
    "tcb-advisories",
    "tcb-info-current",
    "tcb-info-platform",
    "tcb-info-signature",
    "tcb-status",
    "tdx-module",
];
/// Rows about what nobody states here.
const STATED: [&str; 6] = ["compose-hash", "mrtd", "report-data", "rtmr0", "rtmr1", "rtmr2"];
/// Rows that take a log with the app's events.
const EVENTS: [&str; 2] = ["boot-stage", "mrconfigid"];
/// Rows that take a quote that can be read.
const READ: [&str; 18] = [
    "attestation-key",
    "certificate-validity",
    "debug",
    "migratable",
    "mrsignerseam",
    "pck-certificates",
    "pks",
    "qe-report-signature",
    "quote-header",
    "quote-signature",
    "rtmr3",
    "seam-attributes",
    "sept-ve-disable",
    "service-td",
    "td-attributes",
    "td-partition",
    "trust-anchor",
    "xfam",
];

/// What fails where a quote comes without the events of a boot.
const NO_BOOT: [&str; 2] = ["event-missing", "measured-facts"];

/// Evidence, the logs beside it, the rows that fail and the groups of rows that are skipped.
type Case =
    (&'static str, &'static [&'static str], Vec<&'static str>, Vec<&'static [&'static str]>);

fn cases() -> Vec<Case> {
    let (bare, events) = (vec![&COLLATERAL[..], &STATED, &EVENTS], vec![&COLLATERAL[..], &STATED]);
    let no_boot = |more: &[&'static str]| [&NO_BOOT[..], more].concat();
    let quote = "protocol/cos-113-quote.bin";
    let eight = "measurement/dstack-0.6-8cpu-16GiB.quote.bin";
    vec![
        ("attestation/tdx-v4-debug.bin", &[], no_boot(&["debug"]), bare.clone()),
        (
            "attestation/tdx-v4-pks-no-sept-ve-disable.bin",
            &[],
            no_boot(&["quote-format"]),
            [&bare[..], &[&READ[..]]].concat(),
        ),
        (
            "measurement/dstack-0.3-1cpu-1GiB.json",
            &[],
            vec!["event-order"],
            [&events[..], &[&["event-late", "event-missing", "event-repeated"][..]]].concat(),
        ),
        ("measurement/dstack-0.6-2cpu-2GiB.json", &[], vec![], events.clone()),
        (eight, &[], no_boot(&["rtmr3"]), bare.clone()),
        (eight, &["measurement/dstack-0.6-8cpu-16GiB.eventlog.json"], vec![], events.clone()),
        (quote, &[], no_boot(&[]), bare.clone()),
        (quote, &["protocol/cos-113-ccel.bin"], no_boot(&[]), bare.clone()),
        (
            quote,
            &["protocol/cos-113-second-separator.bin"],
            no_boot(&["event-separator", "firmware-log"]),
            bare.clone(),
        ),
        (
            quote,
            &["protocol/cos-113-second-separator-padded.bin"],
            no_boot(&["event-separator", "firmware-log"]),
            bare.clone(),
        ),
        ("protocol/dstack-attestation-v0.bin", &[], vec![], events.clone()),
        ("protocol/dstack-getquote.json", &[], vec![], events),
        ("protocol/tdx-v5-quote.bin", &[], no_boot(&["service-td"]), bare),
    ]
}

#[test]
fn every_vector_has_its_verdict() {
    for (file, logs, failed, skipped) in cases() {
        let mut arguments = vec!["--evidence".to_owned(), vector(file).display().to_string()];
        for log in logs {
            arguments.extend(["--event-log".to_owned(), vector(log).display().to_string()]);
        }
        has(&verify(NOW, arguments), &format!("{file} {logs:?}"), &failed, &skipped);
    }
}

#[test]
fn every_sample_of_dcap_qvl_has_its_verdict_at_its_time_and_later() {
    // What has expired by now.
    let old = ["crl-current", "qe-identity-current", "tcb-info-current"];
    let untold: &[&str] = &["quote-verification", "tcb-advisories", "tcb-status"];
    let behind: &[&str] = &["quote-verification", "tcb-advisories"];
    let base: [&[&str]; 2] = [&STATED, &EVENTS];
    let unread: [&[&str]; 2] = [&COLLATERAL, &READ];
    let (july, march, october) =
        ("2025-07-01T00:00:00Z", "2026-03-01T00:00:00Z", "2026-10-15T00:00:00Z");
    let table: [(_, _, Vec<&str>, Vec<&[&str]>); 8] = [
        (V4, july, vec![], vec![]),
        (V4, NOW, old.to_vec(), vec![untold]),
        (V5_EXTENDED, october, vec!["rtmr3"], vec![]),
        (V5_EXTENDED, NOW, [&old[..], &["rtmr3"]].concat(), vec![untold]),
        (V5_OUTDATED, march, vec!["tcb-status"], vec![behind]),
        (V5_OUTDATED, NOW, [&old[..], &["tcb-status"]].concat(), vec![behind]),
        (SGX, july, vec!["tee-type", "quote-format"], unread.to_vec()),
        (SGX, NOW, vec!["tee-type", "quote-format"], unread.to_vec()),
    ];
    for ([quote, collateral], at, failed, skipped) in table {
        let path = |name: &str| samples::path(name).display().to_string();
        let files = [("--evidence", quote), ("--collateral", collateral)];
        let arguments = files.map(|(option, name)| [option.to_owned(), path(name)]).concat();
        let failed = [&NO_BOOT[..], &failed].concat();
        has(
            &verify(at, arguments),
            &format!("{quote} at {at}"),
            &failed,
            &[&base[..], &skipped].concat(),
        );
    }
}

#[test]
fn every_other_file_is_refused_as_no_evidence() {
    let evidence: BTreeSet<PathBuf> = cases().iter().map(|case| vector(case.0)).collect();
    let mut found = BTreeSet::new();
    files_below(&vector(""), &mut |file| {
        if foreign::read(&fs::read(file).unwrap(), &[]).is_ok() {
            found.insert(file.to_owned());
        }
    });
    assert_eq!(found, evidence);
    let text = vector("attestation/README.md").display().to_string();
    let refused = verify(NOW, vec!["--evidence".to_owned(), text]);
    assert_eq!((refused.code, refused.json.is_null()), (3, true), "{refused:#?}");
}

fn verify(at: &str, arguments: Vec<String>) -> Answer {
    let fixed = ["verify", "--at", at].map(str::to_owned);
    User::with_empty_cache().dstyx(fixed.into_iter().chain(arguments))
}

/// The rows that fail and those that are skipped are exactly these, and the exit status says so.
fn has(answer: &Answer, what: &str, failed: &[&str], skipped: &[&[&str]]) {
    let rows = answer.json["checks"].as_array().unwrap_or_else(|| panic!("{what}: {answer:#?}"));
    let with = |verdict: &str| -> BTreeSet<&str> {
        let with = rows.iter().filter(|row| row["verdict"] == verdict);
        with.map(|row| row["name"].as_str().unwrap()).collect()
    };
    assert_eq!(with("fail"), failed.iter().copied().collect(), "{what}");
    let skipped = skipped.iter().flat_map(|group| group.iter().copied());
    let skipped = skipped.filter(|row| !failed.contains(row)).collect();
    assert_eq!(with("skipped"), skipped, "{what}");
    assert_eq!(answer.code, if failed.is_empty() { 2 } else { 1 }, "{what}");
}

fn files_below(directory: &Path, each: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files_below(&path, each),
            false => each(&path),
        }
    }
}
