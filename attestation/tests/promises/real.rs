//! Real quotes from hardware: accepted at their time, refused today, each for its own reason.

use attestation::policy::ExpectedReportData;
use attestation::{CheckName, CheckVerdict, Collateral, Policy, Report, TrustAnchor, judge, verify};
use protocol::digest::OsImageHash;
use protocol::event_log::RawEvent;
use protocol::evidence::Evidence;
use protocol::launch::LaunchClaims;
use protocol::quote;
use protocol::shape::Shape;
use serde_json::Value;

macro_rules! vector {
    ($file:literal) => {
        include_bytes!(concat!("../../../tests/vectors/attestation/", $file)).as_slice()
    };
}

/// 2025-07-01: within the collateral of `dcap-qvl-v4`.
const JULY_2025: u64 = 1_751_328_000;
/// 2026-03-01: within that of `dcap-qvl-v5-outdated`.
const MARCH_2026: u64 = 1_772_323_200;
/// 2026-10-15: within that of `dcap-qvl-v5-td15ex`.
const OCTOBER_2026: u64 = 1_792_022_400;
/// A day on which all of that has expired.
const TODAY: u64 = 1_795_219_200;

fn evidence(quote: &[u8]) -> Evidence {
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

fn judged(quote: &[u8], collateral: Option<&[u8]>, now: u64) -> Report {
    let policy = Policy::strict(TrustAnchor::Intel, ExpectedReportData::NonceOfEvidence);
    let collateral = collateral.map(|json| Collateral::parse(json).unwrap());
    judge(&evidence(quote), &policy, collateral.as_ref(), now)
}

/// Checks about quote, platform and TD that failed or were skipped; what ran in the TD is another matter.
fn hardware_faults(report: &Report) -> Vec<&'static str> {
    let hardware = report.checks.iter().filter(|row| row.name < CheckName::EventLog);
    hardware.filter(|row| row.verdict != CheckVerdict::Pass).map(|row| row.name.name()).collect()
}

#[test]
fn quotes_of_both_versions_pass_every_hardware_check_at_their_time() {
    let v4 = judged(vector!("dcap-qvl-v4.bin"), Some(vector!("dcap-qvl-v4.collateral.json")), JULY_2025);
    assert_eq!(hardware_faults(&v4), [""; 0]);
    assert_eq!(v4.facts.tcb_status.as_deref(), Some("UpToDate"));
    assert_eq!(v4.facts.fmspc.as_deref(), Some("b0c06f000000"));
    let v5 = vector!("dcap-qvl-v5-td15ex.bin");
    let v5 = judged(v5, Some(vector!("dcap-qvl-v5-td15ex.collateral.json")), OCTOBER_2026);
    assert_eq!(hardware_faults(&v5), [""; 0]);
}

#[test]
fn they_are_refused_today_as_expired() {
    let samples = [
        (vector!("dcap-qvl-v4.bin"), vector!("dcap-qvl-v4.collateral.json")),
        (vector!("dcap-qvl-v5-td15ex.bin"), vector!("dcap-qvl-v5-td15ex.collateral.json")),
    ];
    for (quote, collateral) in samples {
        let report = judged(quote, Some(collateral), TODAY);
        for name in [CheckName::CrlCurrent, CheckName::TcbInfoCurrent, CheckName::QeIdentityCurrent] {
            let row = report.check(name).unwrap();
            assert!(row.verdict == CheckVerdict::Fail && row.finding.hint.starts_with("expired"), "{row:?}");
        }
        assert_eq!(report.refusal().unwrap().check(), CheckName::CrlCurrent);
    }
}

#[test]
fn an_outdated_platform_is_refused_for_its_tcb_alone() {
    let collateral = vector!("dcap-qvl-v5-outdated.collateral.json");
    let report = judged(vector!("dcap-qvl-v5-outdated.bin"), Some(collateral), MARCH_2026);
    assert_eq!(report.refusal().unwrap().check(), CheckName::TcbStatus);
    // dcap-qvl has no status for it, only an error, which says nothing new.
    assert_eq!(hardware_faults(&report), ["quote-verification", "tcb-status", "tcb-advisories"]);
    assert_eq!(report.check(CheckName::QuoteVerification).unwrap().verdict, CheckVerdict::Skipped);
    let found = &report.check(CheckName::TcbStatus).unwrap().finding.found;
    assert!(found.starts_with("below every TCB level") && found.contains("needs"), "{found}");
}

#[test]
fn an_sgx_quote_is_refused_as_not_tdx() {
    let report = judged(vector!("dcap-qvl-sgx.bin"), None, JULY_2025);
    let row = report.check(CheckName::TeeType).unwrap();
    assert_eq!((row.verdict, row.finding.found.as_str()), (CheckVerdict::Fail, "SGX"));
    assert_eq!(report.refusal().unwrap().check(), CheckName::TeeType);
}

#[test]
fn a_debug_guest_is_called_one_although_there_is_no_collateral() {
    let report = judged(vector!("tdx-v4-debug.bin"), None, JULY_2025);
    assert_eq!(report.check(CheckName::Debug).unwrap().verdict, CheckVerdict::Fail);
    assert_eq!(report.refusal().unwrap().check(), CheckName::Debug);
}

#[test]
fn pks_and_sept_ve_disable_fail_their_rows() {
    let padded = vector!("tdx-v4-pks-no-sept-ve-disable.bin");
    let text_behind_the_quote = 39;
    let report = judged(&padded[..padded.len() - text_behind_the_quote], None, JULY_2025);
    for name in [CheckName::Pks, CheckName::SeptVeDisable] {
        assert_eq!(report.check(name).unwrap().verdict, CheckVerdict::Fail, "{}", name.name());
    }
    assert_eq!(judged(padded, None, JULY_2025).refusal().unwrap().check(), CheckName::QuoteFormat);
}

/// Every flipped bit of a signed part is found, wherever it is; the padding behind the PCK chain is nobody's word.
#[test]
fn a_flipped_bit_anywhere_in_header_body_or_signatures_is_refused() {
    let quote = evidence(vector!("dcap-qvl-v4.bin")).quote;
    let collateral = Collateral::parse(vector!("dcap-qvl-v4.collateral.json")).unwrap();
    let policy = Policy::strict(TrustAnchor::Intel, ExpectedReportData::NonceOfEvidence);
    let signed_parts = 48 + 584 + 4 + 64 + 64 + 6 + 384 + 64 + 2 + 32;
    for offset in (0..signed_parts).step_by(13) {
        let mut flipped = evidence(&quote);
        flipped.quote[offset] ^= 1 << (offset % 8);
        let report = judge(&flipped, &policy, Some(&collateral), JULY_2025);
        assert_ne!(hardware_faults(&report), [""; 0], "offset {offset}");
        assert_ne!(hardware_faults(&report), ["quote-verification"], "offset {offset}");
    }
}

/// Collateral of another platform is found by the platform it names, not by a failing signature.
#[test]
fn collateral_of_another_platform_is_refused_as_that() {
    let collateral = vector!("dcap-qvl-v5-outdated.collateral.json");
    let report = judged(vector!("dcap-qvl-v4.bin"), Some(collateral), MARCH_2026);
    assert_eq!(report.refusal().unwrap().check(), CheckName::TcbInfoPlatform);
}

/// Intel's own sample chain: self-consistent, valid to 2028, under a root that is not the production root.
/// Its quote carries DER instead of PEM, so the chain comes with the collateral; its TCB components are
/// larger than security versions can be, so the collateral's documents stay unread.
#[test]
fn intels_sample_chain_is_good_under_its_own_root_only() {
    let file = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let document = |bytes: &[u8], key: &str| {
        let json: Value = serde_json::from_slice(bytes).unwrap();
        (json[key].to_string(), json["signature"].as_str().unwrap().to_owned())
    };
    let (tcb_info, tcb_info_signature) = document(vector!("intel-qvl/tcbInfo.json"), "tcbInfo");
    let (qe_identity, qe_identity_signature) = document(vector!("intel-qvl/qeIdentity.json"), "enclaveIdentity");
    // The file has the root first.
    let mut blocks = pem::parse_many(vector!("intel-qvl/pckSignChain.pem")).unwrap();
    blocks.reverse();
    let chain = file(vector!("intel-qvl/pckCert.pem")) + "\n" + &pem::encode_many(&blocks);
    let collateral = serde_json::json!({
        "pck_crl_issuer_chain": chain,
        "root_ca_crl": hex::encode(vector!("intel-qvl/rootCaCrl.der")),
        "pck_crl": hex::encode(vector!("intel-qvl/intermediateCaCrl.der")),
        "tcb_info_issuer_chain": file(vector!("intel-qvl/tcbSignChain.pem")),
        "tcb_info": tcb_info,
        "tcb_info_signature": tcb_info_signature,
        "qe_identity_issuer_chain": file(vector!("intel-qvl/tcbSignChain.pem")),
        "qe_identity": qe_identity,
        "qe_identity_signature": qe_identity_signature,
        "pck_certificate_chain": chain,
    });
    let collateral = Collateral::parse(collateral.to_string().as_bytes()).unwrap();
    let root = pem::parse(vector!("intel-qvl/trustedRootCaCert.pem")).unwrap().into_contents();
    let quote = evidence(vector!("intel-qvl/quote.dat"));
    let chain_faults = |anchor| {
        let policy = Policy::strict(anchor, ExpectedReportData::NonceOfEvidence);
        let report = judge(&quote, &policy, Some(&collateral), JULY_2025);
        assert_eq!(report.check(CheckName::SeptVeDisable).unwrap().verdict, CheckVerdict::Fail);
        let chain = report.checks.iter().filter(|row| row.name < CheckName::CollateralFormat);
        let faults = chain.filter(|row| row.verdict != CheckVerdict::Pass);
        faults.map(|row| row.name.name()).collect::<Vec<_>>()
    };
    assert_eq!(chain_faults(TrustAnchor::DangerEmulated(root)), [""; 0]);
    assert_eq!(chain_faults(TrustAnchor::Intel), ["trust-anchor"]);
}

/// dstack's guest: its log replays, its facts are read, and its MRCONFIGID is its app's.
#[test]
fn a_dstack_guests_log_replays_to_its_register() {
    let json: Value =
        serde_json::from_slice(include_bytes!("../../../tests/vectors/protocol/dstack-getquote.json")).unwrap();
    let mut evidence = evidence(&hex::decode(json["quote"].as_str().unwrap()).unwrap());
    let events: Vec<RawEvent> = serde_json::from_str(json["event_log"].as_str().unwrap()).unwrap();
    evidence.event_log = events;
    let policy = Policy::strict(TrustAnchor::Intel, ExpectedReportData::NonceOfEvidence);
    let report = judge(&evidence, &policy, None, JULY_2025);
    for name in [
        CheckName::QuoteSignature,
        CheckName::PckCertificates,
        CheckName::EventPayload,
        CheckName::EventOrder,
        CheckName::Rtmr3,
        CheckName::MeasuredFacts,
        CheckName::MrConfigId,
    ] {
        let row = report.check(name).unwrap();
        assert_eq!(row.verdict, CheckVerdict::Pass, "{row:?}");
    }
    assert!(verify(&evidence, &policy, None, JULY_2025).is_err());
}
