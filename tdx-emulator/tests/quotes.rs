//! Promise: quotes and collateral pass a foreign verifier, and each lie fails there for its own
//! reason.

// The helpers of a test are tests too.
#![allow(clippy::unwrap_used)]

use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{QuoteCollateralV3, intel};
use protocol::quote::Quote;
use tdx_emulator::collateral::Collateral;
use tdx_emulator::lie::Lie;
use tdx_emulator::pki::holder::{Holder, public_point};
use tdx_emulator::pki::machine::Machine;
use tdx_emulator::pki::{Chain, root_certificate};
use tdx_emulator::quote::{QuoteVersion, Quoter, platform};
use tdx_emulator::registers::Registers;
use x509_cert::der::{DateTime, Encode as _};

const NOW: &str = "2026-11-21T06:00:00Z";
const REPORT_DATA: [u8; 64] = [0x42; 64];

struct Sample {
    quote: Vec<u8>,
    collateral: QuoteCollateralV3,
    now: u64,
}

fn registers() -> Registers {
    let mut registers = Registers::new([1; 48], [2; 48]);
    registers.extend(3, &[3; 48]);
    registers
}

fn sample(version: QuoteVersion, lie: Option<Lie>) -> Sample {
    let now: DateTime = NOW.parse().unwrap();
    let chain = Chain::issue(now, &platform::pck_facts(lie), lie).unwrap();
    let quote = Quoter::new(&chain, version, lie).unwrap().quote(&registers(), &REPORT_DATA);
    let collateral = Collateral::issue(&chain, now, lie).unwrap().to_json();
    Sample {
        quote,
        collateral: serde_json::from_slice(&collateral).unwrap(),
        now: now.unix_duration().as_secs(),
    }
}

fn verify(sample: &Sample) -> Result<dcap_qvl::verify::VerifiedReport, String> {
    let verifier = QuoteVerifier::new(root_certificate().unwrap().to_der().unwrap());
    verifier
        .verify(&sample.quote, &sample.collateral, sample.now)
        .map_err(|error| format!("{error:#}"))
}

#[test]
fn all_versions_verify_and_are_up_to_date() {
    for version in [QuoteVersion::V4, QuoteVersion::V5, QuoteVersion::V5Extended] {
        let report = verify(&sample(version, None)).unwrap();
        assert_eq!((report.status.as_str(), report.advisory_ids.len()), ("UpToDate", 0));
        assert_eq!(report.ppid, platform::pck_facts(None).ppid);
        let td = report.report.as_td10().unwrap();
        assert_eq!((td.mr_td, td.report_data), ([1; 48], REPORT_DATA));
        assert_eq!(td.rt_mr3, registers().rtmrs[3]);
    }
}

#[test]
fn the_products_parser_reads_every_field_back() {
    for version in [QuoteVersion::V4, QuoteVersion::V5, QuoteVersion::V5Extended] {
        let quote = Quote::parse(&sample(version, None).quote).unwrap();
        let report = quote.report;
        assert_eq!(quote.version, if version == QuoteVersion::V4 { 4 } else { 5 });
        assert_eq!(report.td15.is_some(), version != QuoteVersion::V4);
        assert_eq!(report.td15_extension.is_empty(), version != QuoteVersion::V5Extended);
        assert_eq!(report.mrtd.0, [1; 48]);
        assert_eq!(report.mr_config_id.0, [2; 48]);
        assert_eq!(report.rtmrs[3].0, registers().rtmrs[3]);
        assert_eq!(report.report_data.0, REPORT_DATA);
        assert_eq!((report.td_attributes, report.xfam, report.seam_attributes), (1 << 28, 0xe7, 0));
        assert_eq!(report.mr_signer_seam, [0; 48]);
    }
}

#[test]
fn the_pck_says_which_machine_it_is() {
    let sample = sample(QuoteVersion::V4, None);
    let facts = platform::pck_facts(None);
    let chain = sample.collateral.pck_certificate_chain.unwrap();
    let found = intel::parse_pck_extension_from_pem(chain.as_bytes()).unwrap();
    assert_eq!((found.fmspc, found.cpu_svn), (facts.fmspc, facts.tcb_components));
    assert_eq!((found.pce_svn, found.pce_id), (u16::from(facts.pcesvn), facts.pceid.to_vec()));
    assert_eq!(found.platform_instance_id, Some(facts.platform_instance.to_vec()));
    assert_eq!((found.sgx_type, found.smt_enabled), (1, Some(true)));
    let quote = dcap_qvl::quote::Quote::parse(&sample.quote).unwrap();
    assert_eq!(intel::quote_ca(&quote).unwrap().as_id_str(), "platform");
}

/// What dcap-qvl says to a lie, in a quote of version 5; nothing, where its rules do not apply.
fn foreign_refusal(lie: Lie) -> Option<&'static str> {
    Some(match lie {
        Lie::FlipSignature => "ISV enclave report signature is invalid",
        Lie::QuoteTruncated => "Not enough data to fill buffer",
        Lie::OversizeCertificationData => return None,
        Lie::Debug => "Debug mode is enabled",
        Lie::UnknownAttribute => "Reserved bits in TD attributes are set",
        Lie::NoSeptVeDisable => "SEPT_VE_DISABLE is not enabled",
        Lie::Migratable => "TD migration is enabled",
        Lie::ServiceTd => "Invalid MR service TD",
        Lie::SeamAttributes => "TDX module SEAMATTRIBUTES mismatch",
        Lie::WrongMrsignerseam => "TDX module MRSIGNER mismatch",
        Lie::UnknownModule => "No TDX module identity with id TDX_09 found in TCB Info",
        Lie::ForeignQeVendor => "Unknown QE vendor ID",
        Lie::UnvouchedKey => "QE report hash mismatch",
        Lie::FlipQeSignature => "Signature is invalid for qe_report in quote",
        Lie::WrongQeIdentity => "QE MRSIGNER mismatch",
        Lie::LongQeAuthData => "Invalid QE auth data length",
        Lie::ForeignCa => "UnknownIssuer",
        Lie::ForgedCa | Lie::ForeignTcbSigner => "InvalidSignatureForPublicKey",
        Lie::ExpiredPck => "CertExpired",
        Lie::RevokedPck => "CertRevoked",
        Lie::ExpiredCollateral => "TCBInfo expired",
        Lie::ExpiredCrl => "CrlExpired",
        Lie::ForeignCrl => "InvalidCrlSignatureForPublicKey",
        Lie::WrongFmspc => "Fmspc mismatch",
        Lie::PartialCrl => "UnsupportedCrlIssuingDistributionPoint",
        Lie::TdPartition => return None,
        Lie::QuotePadded | Lie::OtherReportData | Lie::Pks | Lie::UnknownXfam => return None,
        Lie::OtherPlatformId | Lie::OldTcb => return None,
        // Each has a status, which dcap-qvl leaves to its caller to refuse.
        Lie::OldLaunch | Lie::OldCurrent | Lie::OldModule => return None,
        Lie::OldQe | Lie::UnconfiguredQe => return None,
    })
}

#[test]
fn each_lie_is_refused_for_its_own_reason_or_is_none_by_intels_rules() {
    let mut wrong = Vec::new();
    for lie in Lie::all() {
        let said = verify(&sample(QuoteVersion::V5, Some(*lie))).err();
        let agrees = match (&said, foreign_refusal(*lie)) {
            (Some(said), Some(expected)) => said.contains(expected),
            (said, expected) => said.is_none() == expected.is_none(),
        };
        if !agrees {
            wrong.push(format!("{}: {said:?}", lie.name()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_service_td_shows_in_quotes_of_version_4_too() {
    let refusal = verify(&sample(QuoteVersion::V4, Some(Lie::ServiceTd))).err();
    assert_eq!(refusal.as_deref(), Some("SERVTD_EXT is enabled"));
}

#[test]
fn an_old_machine_verifies_as_out_of_date() {
    let report = verify(&sample(QuoteVersion::V5, Some(Lie::OldTcb))).unwrap();
    assert_eq!(
        (report.status.as_str(), report.advisory_ids),
        ("OutOfDate", vec!["INTEL-SA-00000".to_owned()])
    );
}

#[test]
fn another_machine_verifies_under_its_own_id() {
    let report = verify(&sample(QuoteVersion::V5, Some(Lie::OtherPlatformId))).unwrap();
    assert_eq!(report.ppid, *b"dstyx-other-ppid");
}

#[test]
fn machines_of_two_seeds_verify_and_share_neither_ids_nor_keys() {
    let now: DateTime = NOW.parse().unwrap();
    let [published, one, other] = [Machine::default(), of_seed(1), of_seed(2)].map(|machine| {
        let facts = platform::pck_facts_of(machine, None);
        let chain = Chain::issue(now, &facts, None).unwrap();
        let quoter = Quoter::new(&chain, QuoteVersion::V4, None).unwrap();
        let quote = quoter.quote(&registers(), &REPORT_DATA);
        // Machines of one kind share their collateral: here it is the published machine's.
        let mut sample = Sample { quote, ..sample(QuoteVersion::V4, None) };
        sample.collateral.pck_certificate_chain = None;
        assert_eq!(verify(&sample).unwrap().ppid, facts.ppid);
        let key = public_point(&Holder::Pck(machine).key());
        (facts.ppid, facts.platform_instance, key)
    });
    for (a, b) in [(published, one), (published, other), (one, other)] {
        assert!(a.0 != b.0 && a.1 != b.1 && a.2 != b.2);
    }
}

fn of_seed(byte: u8) -> Machine {
    Machine::of_seed([byte; Machine::SEED_BYTES])
}

#[test]
fn other_report_data_verifies_but_answers_another_question() {
    let sample = sample(QuoteVersion::V5, Some(Lie::OtherReportData));
    verify(&sample).unwrap();
    assert_ne!(Quote::parse(&sample.quote).unwrap().report.report_data.0, REPORT_DATA);
}

#[test]
fn intels_root_accepts_none_of_it() {
    let sample = sample(QuoteVersion::V4, None);
    QuoteVerifier::new_prod().verify(&sample.quote, &sample.collateral, sample.now).unwrap_err();
}

#[test]
fn collateral_lasts_thirty_days_and_no_longer() {
    let mut sample = sample(QuoteVersion::V4, None);
    let issued = sample.now;
    sample.now = issued + 30 * 24 * 3600 - 1;
    verify(&sample).unwrap();
    sample.now = issued + 30 * 24 * 3600 + 1;
    assert!(verify(&sample).is_err());
    sample.now = issued - 1;
    assert!(verify(&sample).is_err(), "not valid before it was issued");
}
