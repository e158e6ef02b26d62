//! A gateway that never ran, and a log in memory.

use std::sync::OnceLock;

use ::tests::chrony::now_secs;
use ::tests::emulated::{self, Emulated};
use attestation::policy::{ExpectedApp, ExpectedReportData, Policy};
use attestation::{
    Collateral, Image, Parts, StatedFirmware, StatedImage, StatedMachine, TrustAnchor,
    VerifiedEvidence,
};
use gateway_domain::account::Account;
use gateway_domain::certificate::Certificate;
use gateway_domain::published::{Entry, Leaf, Subject};
use rcgen::{CertificateParams, KeyPair, SanType};
use time::OffsetDateTime;

use crate::attested::{Attested, Gateway, NotAttested};

pub const ACCOUNT: &str = "https://authority.example/1";

/// The gateway's guest.
pub fn guest() -> &'static Emulated {
    static GUEST: OnceLock<Emulated> = OnceLock::new();
    GUEST.get_or_init(|| Emulated::new("gateway", true))
}

pub fn gateway() -> Gateway {
    Gateway { app_id: guest().app_id(), key_provider_id: None }
}

/// What a guest publishes about a subject, now.
pub fn entry(guest: &Emulated, subject: Subject) -> Entry {
    let evidence = guest.evidence(subject.report_data());
    let collateral = String::from_utf8(emulated::collateral_json()).unwrap();
    Entry { made_secs: now_secs(), subject, evidence, collateral }
}

/// The judgement of a line, as a verifier makes it.
pub fn verified(guest: &Emulated, entry: &Entry) -> VerifiedEvidence {
    let image = Image::ours(&emulated::image().to_json(), Parts::default()).unwrap();
    let anchor = TrustAnchor::DangerEmulated(emulated::root());
    let report_data = ExpectedReportData::Exactly(entry.subject.report_data());
    let mut policy = Policy::strict(anchor, report_data);
    policy.app = Some(ExpectedApp::of(guest.compose_hash()));
    let stated = StatedImage {
        image: &image,
        machine: &StatedMachine::default(),
        firmware: &StatedFirmware::default(),
        others: &[],
        firmware_log: &[],
    };
    let collateral = Collateral::parse(entry.collateral.as_bytes()).unwrap();
    let appraisal = attestation::appraise(
        &entry.evidence,
        Some(&stated),
        policy,
        Some(&collateral),
        entry.made_secs,
    );
    appraisal.unwrap().into_verified().unwrap()
}

pub fn account() -> Subject {
    let directory = "https://authority.example/dir";
    Subject::Account(Account::new(directory, ACCOUNT, [1; 32]).unwrap())
}

/// A certificate, and the key that it is for as it is published.
pub struct Made {
    pub der: Vec<u8>,
    pub certificate: Certificate,
    pub leaf: Subject,
}

/// A certificate that begins an hour ago.
pub fn certificate(names: &[&str]) -> Made {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    let sans = names.iter().map(|name| SanType::DnsName((*name).try_into().unwrap()));
    params.subject_alt_names = sans.collect();
    let now = i64::try_from(now_secs()).unwrap();
    params.not_before = OffsetDateTime::from_unix_timestamp(now - 3600).unwrap();
    params.not_after = OffsetDateTime::from_unix_timestamp(now + 90 * 86_400).unwrap();
    let der = params.self_signed(&key).unwrap().der().to_vec();
    let certificate = Certificate::parse(&der).unwrap();
    let (names, spki) = (certificate.names().to_vec(), certificate.spki().to_vec());
    let leaf = Subject::Leaf(Leaf::new(ACCOUNT.to_owned(), names, spki).unwrap());
    Made { der, certificate, leaf }
}

/// Keys with evidence of the gateway: these.
pub fn attested(subjects: impl IntoIterator<Item = Subject>) -> Attested {
    let mut attested = Attested::default();
    for subject in subjects {
        let entry = entry(guest(), subject);
        attested.add(&entry, &verified(guest(), &entry), &gateway()).unwrap();
    }
    attested
}

pub fn add(guest: &Emulated, entry: &Entry, gateway: &Gateway) -> Result<(), NotAttested> {
    Attested::default().add(entry, &verified(guest, entry), gateway)
}
