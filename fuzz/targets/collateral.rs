//! Collateral: what is accepted survives its own JSON; what is judged never makes evidence without
//! a log believable.
#![no_main]

use attestation::policy::ExpectedReportData;
use attestation::{CheckName, CheckVerdict, Collateral, Policy, TrustAnchor, Verdict, judge};
use libfuzzer_sys::fuzz_target;
use protocol::digest::OsImageHash;
use protocol::evidence::Evidence;
use protocol::launch::LaunchClaims;
use protocol::quote;
use protocol::shape::Shape;

/// 2025-07-01: within the collateral of the quote.
const NOW: u64 = 1_751_328_000;
const QUOTE: &[u8] = include_bytes!("../../tests/vectors/attestation/dcap-qvl-v4.bin");

fuzz_target!(|json: &[u8]| {
    let Ok(accepted) = Collateral::parse(json) else { return };
    assert_eq!(Collateral::parse(&accepted.to_json()), Ok(accepted.clone()));
    let policy = Policy::strict(TrustAnchor::Intel, ExpectedReportData::NonceOfEvidence);
    let report = judge(&evidence(), &policy, Some(&accepted), NOW);
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

fn evidence() -> Evidence {
    Evidence {
        quote: quote::without_padding(QUOTE).expect("a checked-in vector").to_vec(),
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
