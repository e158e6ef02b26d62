//! Real quotes from hardware: accepted at their time, refused today, each for its own reason.

use std::time::{SystemTime, UNIX_EPOCH};

use attestation::policy::ExpectedReportData;
use attestation::{
    Appraisal, CheckName, CheckVerdict, Collateral, Policy, TrustAnchor, judge, verify,
};
use protocol::digest::{OsImageHash, Sha384Digest};
use protocol::event_log::RawEvent;
use protocol::evidence::Evidence;
use protocol::launch::LaunchClaims;
use protocol::quote::{self, Quote};
use protocol::shape::Shape;
use protocol::tcg_log::{self, TcgEvent, TcgLogError};
use serde_json::Value;

macro_rules! vector {
    ($file:literal) => {
        include_bytes!(concat!("../../../tests/vectors/attestation/", $file)).as_slice()
    };
}

pub const V4: &[u8] = vector!("dcap-qvl-v4.bin");
pub const V4_COLLATERAL: &[u8] = vector!("dcap-qvl-v4.collateral.json");
pub const V5_EXTENDED: &[u8] = vector!("dcap-qvl-v5-td15ex.bin");
pub const V5_EXTENDED_COLLATERAL: &[u8] = vector!("dcap-qvl-v5-td15ex.collateral.json");
pub const V5_OUTDATED: &[u8] = vector!("dcap-qvl-v5-outdated.bin");
pub const V5_OUTDATED_COLLATERAL: &[u8] = vector!("dcap-qvl-v5-outdated.collateral.json");
pub const SGX: &[u8] = vector!("dcap-qvl-sgx.bin");
pub const SGX_COLLATERAL: &[u8] = vector!("dcap-qvl-sgx.collateral.json");

/// 2025-07-01: within the collateral of `dcap-qvl-v4` and `dcap-qvl-sgx`.
pub const JULY_2025: u64 = 1_751_328_000;
/// 2026-03-01: within that of `dcap-qvl-v5-outdated`.
pub const MARCH_2026: u64 = 1_772_323_200;
/// 2026-10-15: within that of `dcap-qvl-v5-td15ex`.
pub const OCTOBER_2026: u64 = 1_792_022_400;
/// A day on which all of that has expired.
const LATER: u64 = 1_795_219_200;

/// Evidence of nothing but a quote.
pub fn evidence(quote: &[u8]) -> Evidence {
    Evidence {
        quote: quote::without_padding(quote).unwrap_or(quote).to_vec(),
        event_log: Vec::new(),
        nonce: [0; 32],
        claims: LaunchClaims {
            os_image_hash: OsImageHash::ZERO,
            shape: Shape {
                vcpus: 1,
                memory_mib: 1024,
                root_slots: 4,
                serial_ports: 1,
                qemu_version: "8.2.2".into(),
                pci_hotplug: true,
            },
        },
        app_compose: None,
    }
}

fn judged(quote: &[u8], collateral: Option<&[u8]>, now: u64) -> Appraisal {
    let policy = Policy::strict(TrustAnchor::Intel, ExpectedReportData::NonceOfEvidence);
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
    let v4 = judged(V4, Some(V4_COLLATERAL), JULY_2025);
    assert_eq!(hardware_faults(&v4), [""; 0]);
    assert_eq!(v4.facts.tcb_status.as_deref(), Some("UpToDate"));
    assert_eq!(v4.facts.fmspc.as_deref(), Some("b0c06f000000"));
    let v5 = judged(V5_EXTENDED, Some(V5_EXTENDED_COLLATERAL), OCTOBER_2026);
    assert_eq!(hardware_faults(&v5), [""; 0]);
    assert_eq!(
        Quote::parse(&evidence(V5_EXTENDED).quote).unwrap().report.td15_extension.len(),
        237
    );
}

#[test]
fn they_are_refused_today_as_expired_and_for_nothing_else() {
    for (quote, collateral) in [(V4, V4_COLLATERAL), (V5_EXTENDED, V5_EXTENDED_COLLATERAL)] {
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
    let appraisal = judged(V5_OUTDATED, Some(V5_OUTDATED_COLLATERAL), MARCH_2026);
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
    let appraisal = judged(SGX, Some(SGX_COLLATERAL), JULY_2025);
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
    let quote = evidence(V4).quote;
    let collateral = Collateral::parse(V4_COLLATERAL).unwrap();
    let policy = Policy::strict(TrustAnchor::Intel, ExpectedReportData::NonceOfEvidence);
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
    let appraisal = judged(V4, Some(V5_OUTDATED_COLLATERAL), MARCH_2026);
    assert_eq!(appraisal.refusal().unwrap().check(), CheckName::TcbInfoPlatform);
}

/// Intel's own sample chain: self-consistent, valid to 2028, under a root that is not the
/// production root. Its quote carries the chain as DER; what certifies a quote is not signed by it,
/// so the test writes it as PEM.
#[test]
fn intels_sample_is_refused_under_its_own_root_only_for_its_attributes() {
    let quote = with_chain(vector!("intel-qvl/quote.dat"), &intel_sample_chain());
    let judged = |anchor| {
        let policy = Policy::strict(anchor, ExpectedReportData::NonceOfEvidence);
        judge(&evidence(&quote), &policy, None, JULY_2025)
    };
    let own = judged(TrustAnchor::DangerEmulated(intel_sample_root()));
    assert_eq!(failed(&own), ["sept-ve-disable"]);
    let chain = own.checks.iter().filter(|row| row.name < CheckName::CollateralFormat);
    assert!(
        chain.clone().count() == 9
            && chain.into_iter().all(|row| row.verdict == CheckVerdict::Pass)
    );
    assert_eq!(failed(&judged(TrustAnchor::Intel)), ["trust-anchor", "sept-ve-disable"]);
}

/// Its TCB components are larger than security versions can be, so with its collateral it fails for
/// that as well.
#[test]
fn intels_sample_tcb_info_cannot_be_read() {
    let file = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let document = |bytes: &[u8], key: &str| {
        let json: Value = serde_json::from_slice(bytes).unwrap();
        (json[key].to_string(), json["signature"].as_str().unwrap().to_owned())
    };
    let (tcb_info, tcb_info_signature) = document(vector!("intel-qvl/tcbInfo.json"), "tcbInfo");
    let (qe_identity, qe_identity_signature) =
        document(vector!("intel-qvl/qeIdentity.json"), "enclaveIdentity");
    let collateral = serde_json::json!({
        "pck_crl_issuer_chain": intel_sample_chain(),
        "root_ca_crl": hex::encode(vector!("intel-qvl/rootCaCrl.der")),
        "pck_crl": hex::encode(vector!("intel-qvl/intermediateCaCrl.der")),
        "tcb_info_issuer_chain": file(vector!("intel-qvl/tcbSignChain.pem")),
        "tcb_info": tcb_info,
        "tcb_info_signature": tcb_info_signature,
        "qe_identity_issuer_chain": file(vector!("intel-qvl/tcbSignChain.pem")),
        "qe_identity": qe_identity,
        "qe_identity_signature": qe_identity_signature,
        "pck_certificate_chain": intel_sample_chain(),
    });
    let collateral = Collateral::parse(collateral.to_string().as_bytes()).unwrap();
    let policy = Policy::strict(
        TrustAnchor::DangerEmulated(intel_sample_root()),
        ExpectedReportData::NonceOfEvidence,
    );
    let appraisal =
        judge(&evidence(vector!("intel-qvl/quote.dat")), &policy, Some(&collateral), JULY_2025);
    assert_eq!(failed(&appraisal), ["collateral-format", "sept-ve-disable"]);
    let found = &appraisal.check(CheckName::CollateralFormat).unwrap().finding.found;
    assert!(found.contains("65473"), "{found}");
}

/// Leaf first; the file of its issuers has the root first.
fn intel_sample_chain() -> String {
    let mut issuers = pem::parse_many(vector!("intel-qvl/pckSignChain.pem")).unwrap();
    issuers.reverse();
    let leaf = std::str::from_utf8(vector!("intel-qvl/pckCert.pem")).unwrap();
    format!("{leaf}\n{}", pem::encode_many(&issuers))
}

fn intel_sample_root() -> Vec<u8> {
    pem::parse(vector!("intel-qvl/trustedRootCaCert.pem")).unwrap().into_contents()
}

/// A version 4 quote without QE authentication data whose PCK chain is replaced; no signature
/// covers it.
fn with_chain(quote: &[u8], chain: &str) -> Vec<u8> {
    let signed = 48 + 584;
    let before_inner_size = signed + 4 + 128 + 2;
    let inner = before_inner_size + 4;
    let before_chain_size = inner + 384 + 64 + 2 + 2;
    let size = |bytes: usize| (bytes as u32).to_le_bytes();
    let mut out = quote[..before_chain_size].to_vec();
    out.extend(size(chain.len()));
    out.extend(chain.as_bytes());
    let (all, inside) = (size(out.len() - signed - 4), size(out.len() - inner));
    out[signed..signed + 4].copy_from_slice(&all);
    out[before_inner_size..inner].copy_from_slice(&inside);
    out
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
    let policy = Policy::strict(TrustAnchor::Intel, ExpectedReportData::NonceOfEvidence);
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
    let policy = Policy::strict(TrustAnchor::Intel, ExpectedReportData::NonceOfEvidence);
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
    let policy = Policy::strict(TrustAnchor::Intel, ExpectedReportData::NonceOfEvidence);
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
    assert!(verify(&evidence, &policy, None, JULY_2025).is_err());
}
