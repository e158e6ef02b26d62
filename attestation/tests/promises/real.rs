//! Real quotes from hardware: accepted at their time, refused today, each for its own reason.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use attestation::policy::ExpectedReportData;
use attestation::{
    Appraisal, CheckName, CheckVerdict, Collateral, PlatformKeyError, Policy, TrustAnchor, judge,
    platform_key,
};
use protocol::digest::Sha384Digest;
use protocol::event_log::RawEvent;
use protocol::evidence::Evidence;
use protocol::fixtures;
use protocol::quote::{self, Quote};
use protocol::tcg_log::{self, TcgEvent, TcgLogError};
use serde_json::Value;

use crate::samples;

macro_rules! vector {
    ($file:literal) => {
        include_bytes!(concat!("../../../tests/vectors/attestation/", $file)).as_slice()
    };
}

/// Functions that give the bytes of samples, each read once.
macro_rules! samples {
    ($($function:ident: $name:expr;)*) => {
        $(
            pub fn $function() -> &'static [u8] {
                static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| samples::bytes($name));
                &BYTES
            }
        )*
    };
}

samples! {
    v4: samples::V4[0];
    v4_collateral: samples::V4[1];
    v5_extended: samples::V5_EXTENDED[0];
    v5_extended_collateral: samples::V5_EXTENDED[1];
    v5_outdated: samples::V5_OUTDATED[0];
    v5_outdated_collateral: samples::V5_OUTDATED[1];
    sgx: samples::SGX[0];
    sgx_collateral: samples::SGX[1];
}

/// 2025-07-01: within the collateral of `v4` and `sgx`.
pub const JULY_2025: u64 = 1_751_328_000;
/// 2026-03-01: within that of `v5_outdated`.
pub const MARCH_2026: u64 = 1_772_323_200;
/// 2026-10-15: within that of `v5_extended`.
pub const OCTOBER_2026: u64 = 1_792_022_400;
/// A day on which all of that has expired.
const LATER: u64 = 1_795_219_200;

/// Evidence of nothing but a quote.
pub fn evidence(quote: &[u8]) -> Evidence {
    fixtures::evidence_of(quote::without_padding(quote).unwrap_or(quote))
}

fn judged(quote: &[u8], collateral: Option<&[u8]>, now: u64) -> Appraisal {
    let policy = Policy::strict(TrustAnchor::Intel, ExpectedReportData::Unstated(String::new()));
    let collateral = collateral.map(|json| Collateral::parse(json).unwrap());
    judge(&evidence(quote), &policy, collateral.as_ref(), now)
}

/// Checks about quote, platform and TD that failed or were skipped; what ran in the TD is another
/// matter.
fn hardware_faults(appraisal: &Appraisal) -> Vec<&'static str> {
    let hardware = appraisal.checks.iter().filter(|row| row.name < CheckName::EventLog);
    hardware.filter(|row| row.verdict != CheckVerdict::Pass).map(|row| row.name.name()).collect()
}

/// The clock of the machine that tests, which is later than all collateral here.
fn today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().max(LATER)
}

/// Checks about quote, platform and TD that failed, whatever was skipped.
fn failed(appraisal: &Appraisal) -> Vec<&'static str> {
    let hardware = appraisal.checks.iter().filter(|row| row.name < CheckName::EventLog);
    hardware.filter(|row| row.verdict == CheckVerdict::Fail).map(|row| row.name.name()).collect()
}

#[test]
fn quotes_of_both_versions_pass_every_hardware_check_at_their_time() {
    let v4 = judged(v4(), Some(v4_collateral()), JULY_2025);
    assert_eq!(hardware_faults(&v4), [""; 0]);
    assert_eq!(v4.facts.tcb_status.as_deref(), Some("UpToDate"));
    assert_eq!(v4.facts.fmspc.as_deref(), Some("b0c06f000000"));
    let v5 = judged(v5_extended(), Some(v5_extended_collateral()), OCTOBER_2026);
    assert_eq!(hardware_faults(&v5), [""; 0]);
    assert_eq!(
        Quote::parse(&evidence(v5_extended()).quote).unwrap().report.td15_extension.len(),
        237
    );
}

#[test]
fn they_are_refused_today_as_expired_and_for_nothing_else() {
    for (quote, collateral) in [(v4(), v4_collateral()), (v5_extended(), v5_extended_collateral())]
    {
        for now in [LATER, today()] {
            let appraisal = judged(quote, Some(collateral), now);
            let faults = ["crl-current", "tcb-info-current", "qe-identity-current"];
            assert_eq!(failed(&appraisal), faults);
            for name in
                [CheckName::CrlCurrent, CheckName::TcbInfoCurrent, CheckName::QeIdentityCurrent]
            {
                let row = appraisal.check(name).unwrap();
                assert!(row.finding.hint.starts_with("expired"), "{row:?}");
            }
            assert_eq!(appraisal.refusal().unwrap().check(), CheckName::CrlCurrent);
        }
    }
}

#[test]
fn an_outdated_platform_is_refused_for_its_tcb_alone() {
    let appraisal = judged(v5_outdated(), Some(v5_outdated_collateral()), MARCH_2026);
    assert_eq!(appraisal.refusal().unwrap().check(), CheckName::TcbStatus);
    assert_eq!(failed(&appraisal), ["tcb-status"]);
    // dcap-qvl has no status for it, only an error, which says nothing new.
    assert_eq!(hardware_faults(&appraisal), ["quote-verification", "tcb-status", "tcb-advisories"]);
    assert_eq!(
        appraisal.check(CheckName::QuoteVerification).unwrap().verdict,
        CheckVerdict::Skipped
    );
    let found = &appraisal.check(CheckName::TcbStatus).unwrap().finding.found;
    assert!(found.starts_with("below every TCB level") && found.contains("needs"), "{found}");
}

#[test]
fn an_sgx_quote_is_refused_as_not_tdx() {
    let appraisal = judged(sgx(), Some(sgx_collateral()), JULY_2025);
    let row = appraisal.check(CheckName::TeeType).unwrap();
    assert_eq!((row.verdict, row.finding.found.as_str()), (CheckVerdict::Fail, "SGX"));
    assert_eq!(appraisal.refusal().unwrap().check(), CheckName::TeeType);
    assert_eq!(failed(&appraisal), ["tee-type", "quote-format"]);
}

#[test]
fn a_debug_guest_is_called_one_although_there_is_no_collateral() {
    let appraisal = judged(vector!("tdx-v4-debug.bin"), None, JULY_2025);
    assert_eq!(appraisal.refusal().unwrap().check(), CheckName::Debug);
    assert_eq!(failed(&appraisal), ["debug"]);
}

#[test]
fn pks_and_sept_ve_disable_fail_their_rows() {
    let padded = vector!("tdx-v4-pks-no-sept-ve-disable.bin");
    let text_behind_the_quote = 39;
    let appraisal = judged(&padded[..padded.len() - text_behind_the_quote], None, JULY_2025);
    assert_eq!(failed(&appraisal), ["sept-ve-disable", "pks"]);
    assert_eq!(judged(padded, None, JULY_2025).refusal().unwrap().check(), CheckName::QuoteFormat);
}

/// Every flipped bit of a signed part is found, wherever it is; the padding behind the PCK chain is
/// nobody's word.
#[test]
fn a_flipped_bit_anywhere_in_header_body_or_signatures_is_refused() {
    let quote = evidence(v4()).quote;
    let collateral = Collateral::parse(v4_collateral()).unwrap();
    let policy = Policy::strict(TrustAnchor::Intel, ExpectedReportData::Unstated(String::new()));
    let signed_parts = 48 + 584 + 4 + 64 + 64 + 6 + 384 + 64 + 2 + 32;
    for offset in (0..signed_parts).step_by(13) {
        let mut flipped = evidence(&quote);
        flipped.quote[offset] ^= 1 << (offset % 8);
        let appraisal = judge(&flipped, &policy, Some(&collateral), JULY_2025);
        assert_ne!(hardware_faults(&appraisal), [""; 0], "offset {offset}");
        assert_ne!(hardware_faults(&appraisal), ["quote-verification"], "offset {offset}");
    }
}

/// Collateral of another platform is found by the platform it names, not by a failing signature.
#[test]
fn collateral_of_another_platform_is_refused_as_that() {
    let appraisal = judged(v4(), Some(v5_outdated_collateral()), MARCH_2026);
    assert_eq!(appraisal.refusal().unwrap().check(), CheckName::TcbInfoPlatform);
}

#[test]
fn a_real_quote_names_its_platform_and_its_collateral_what_it_is_for() {
    let key = platform_key(quote::without_padding(v5_extended()).unwrap()).unwrap();
    let summary = Collateral::parse(v5_extended_collateral()).unwrap().summary().unwrap();
    assert_eq!(summary.fmspc, hex::encode(key.fmspc));
    assert!(key.to_string().ends_with("-platform"), "{key}");
    assert!(summary.signer.contains("Intel SGX TCB Signing"), "{}", summary.signer);
    assert!(summary.pck_ca.contains("Intel SGX PCK Platform CA"), "{}", summary.pck_ca);
    let documents = summary.tcb_info.issued_secs.max(summary.qe_identity.issued_secs);
    assert!(summary.is_current(documents.max(summary.pck_crl.issued_secs)));
    assert!(!summary.is_current(summary.tcb_info.next_update_secs + 1) && !summary.is_current(0));
}

#[test]
fn what_is_no_quote_has_no_platform() {
    for bytes in [&v5_extended()[..600], &[]] {
        assert!(matches!(platform_key(bytes), Err(PlatformKeyError::Quote(_))));
    }
}

#[test]
fn a_part_of_collateral_that_cannot_be_read_is_named() {
    let mut json: Value = serde_json::from_slice(v5_extended_collateral()).unwrap();
    let list = json["pck_crl"].as_str().unwrap();
    json["pck_crl"] = list[..list.len() - 2].into();
    let cut = Collateral::parse(json.to_string().as_bytes()).unwrap();
    assert_eq!(cut.summary().unwrap_err().part, "PCK CA's revocation list");
}

#[test]
fn real_collateral_survives_its_json() {
    let collateral = Collateral::parse(v5_extended_collateral()).unwrap();
    assert_eq!(Collateral::parse(&collateral.to_json()), Ok(collateral));
}

/// A guest of another cloud: quote and firmware log of one boot, which replay to all four
/// registers.
#[test]
fn another_clouds_log_replays_and_its_logs_with_two_separators_are_refused() {
    let quote = include_bytes!("../../../tests/vectors/protocol/cos-113-quote.bin");
    let events =
        tcg_log::parse(include_bytes!("../../../tests/vectors/protocol/cos-113-ccel.bin")).unwrap();
    assert_eq!(tcg_log::replay(&events), Quote::parse_padded(quote).unwrap().report.rtmrs);
    let mut evidence = evidence(quote);
    evidence.event_log = events.iter().map(raw).collect();
    let policy = Policy::strict(TrustAnchor::Intel, ExpectedReportData::Unstated(String::new()));
    let appraisal = judge(&evidence, &policy, None, JULY_2025);
    for name in [CheckName::EventSeparator, CheckName::FirmwareLog, CheckName::QuoteSignature] {
        assert_eq!(appraisal.check(name).unwrap().verdict, CheckVerdict::Pass, "{}", name.name());
    }
    // The same log with the separator of RTMR0 written twice, as a host would to move events behind
    // it.
    let first = events.iter().position(|event| event.event_type == EV_SEPARATOR).unwrap();
    evidence.event_log.insert(first, evidence.event_log[first].clone());
    let appraisal = judge(&evidence, &policy, None, JULY_2025);
    for name in [CheckName::EventSeparator, CheckName::FirmwareLog] {
        assert_eq!(appraisal.check(name).unwrap().verdict, CheckVerdict::Fail, "{}", name.name());
    }
    for twice in [
        include_bytes!("../../../tests/vectors/protocol/cos-113-second-separator.bin").as_slice(),
        include_bytes!("../../../tests/vectors/protocol/cos-113-second-separator-padded.bin"),
    ] {
        assert!(matches!(tcg_log::parse(twice), Err(TcgLogError::SecondSeparator { .. })));
    }
}

/// Nothing authenticates an entry's type: a second separator is seen under another one too, and so
/// is one that reports an error.
#[test]
fn a_second_separator_is_seen_whatever_type_its_sender_gives_it() {
    let mut evidence =
        evidence(include_bytes!("../../../tests/vectors/protocol/cos-113-quote.bin"));
    let log = include_bytes!("../../../tests/vectors/protocol/cos-113-second-separator.bin");
    evidence.event_log = tcg_log::parse_as_it_is(log).unwrap().iter().map(raw).collect();
    let mut seen = [false; 4];
    let second = evidence.event_log.iter().position(|raw| {
        raw.event_type == EV_SEPARATOR && std::mem::replace(&mut seen[raw.imr as usize], true)
    });
    let second = second.unwrap();
    let policy = Policy::strict(TrustAnchor::Intel, ExpectedReportData::Unstated(String::new()));
    let mut judged = |event_type: u32, measured: &[u8]| {
        evidence.event_log[second].event_type = event_type;
        evidence.event_log[second].digest = Sha384Digest::of(measured).to_string();
        judge(&evidence, &policy, None, JULY_2025).check(CheckName::EventSeparator).unwrap().verdict
    };
    assert_eq!(judged(EV_SEPARATOR, b"anything"), CheckVerdict::Fail);
    assert_eq!(judged(EV_EVENT_TAG, &[0; 4]), CheckVerdict::Fail);
    assert_eq!(judged(EV_EVENT_TAG, &[0xff; 4]), CheckVerdict::Fail);
    assert_eq!(judged(EV_EVENT_TAG, &[0; 2]), CheckVerdict::Pass, "a boot order of one entry");
}

/// EV_SEPARATOR (TCG PC Client Platform Firmware Profile 1.05, table 27).
const EV_SEPARATOR: u32 = 4;

/// Another type (the same table).
const EV_EVENT_TAG: u32 = 6;

fn raw(event: &TcgEvent) -> RawEvent {
    RawEvent {
        imr: event.register as u32,
        event_type: event.event_type,
        digest: event.digest.to_string(),
        event: String::new(),
        event_payload: String::new(),
    }
}

/// dstack's guest: its log replays, its facts are read, and its MRCONFIGID is its app's.
#[test]
fn a_dstack_guests_log_replays_to_its_register() {
    let json: Value = serde_json::from_slice(include_bytes!(
        "../../../tests/vectors/protocol/dstack-getquote.json"
    ))
    .unwrap();
    let mut evidence = evidence(&hex::decode(json["quote"].as_str().unwrap()).unwrap());
    let events: Vec<RawEvent> = serde_json::from_str(json["event_log"].as_str().unwrap()).unwrap();
    evidence.event_log = events;
    let policy = Policy::strict(TrustAnchor::Intel, ExpectedReportData::Unstated(String::new()));
    let appraisal = judge(&evidence, &policy, None, JULY_2025);
    for name in [
        CheckName::QuoteSignature,
        CheckName::PckCertificates,
        CheckName::EventPayload,
        CheckName::EventOrder,
        CheckName::Rtmr3,
        CheckName::MeasuredFacts,
        CheckName::MrConfigId,
    ] {
        let row = appraisal.check(name).unwrap();
        assert_eq!(row.verdict, CheckVerdict::Pass, "{row:?}");
    }
    assert!(judge(&evidence, &policy, None, JULY_2025).into_verified().is_err());
}
