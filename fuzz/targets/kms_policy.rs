//! The policy of a KMS: the payload of an envelope that a made owner signs. What is accepted is of
//! its cluster, valid now and not too long, names nothing twice, and means the same when it is
//! written again; an envelope as it came is never accepted, since no owner signed it.
#![no_main]

use attestation::TrustAnchor;
use attestation::policy::TcbStatus;
use attestation::signatures::{Envelope, PayloadType, SigningKey};
use kms_rules::policy::{MAX_VALIDITY_SECS, STORAGE_TO_NAME, SignedPolicy};
use libfuzzer_sys::fuzz_target;
use protocol::digest::ReportData;
use protocol::kms::{Cluster, payload_type};
use protocol::strict_json;

/// 2026-11-24T00:00:00Z, in the validity of the seeds.
const NOW: u64 = 1_795_478_400;

fuzz_target!(|payload: &[u8]| {
    let owner = SigningKey::from_seed(&[1; 32]);
    let owners = vec![owner.signer().key()];
    let cluster = Cluster { name: "fuzz".into(), owners, threshold: 1 };
    if let Ok(text) = std::str::from_utf8(payload) {
        assert!(SignedPolicy::verify(text, &cluster, 0, NOW).is_err());
    }
    let mut envelope = Envelope::new(PayloadType(payload_type::POLICY), payload.to_vec());
    envelope.sign(&owner);
    let Ok(policy) = SignedPolicy::verify(&envelope.to_json(), &cluster, 6, NOW) else { return };
    let file = policy.file();
    assert_eq!(file.key_provider_id, cluster.id());
    assert!(file.version > 6);
    assert!(file.not_before_secs <= NOW && NOW <= file.not_after_secs);
    assert!(file.not_after_secs - file.not_before_secs <= MAX_VALIDITY_SECS);
    assert_eq!(strict_json::parse(&file.to_json(), usize::MAX).as_ref(), Ok(file));
    for (index, app) in file.apps.iter().enumerate() {
        assert_eq!(policy.app(&app.app_id).map(|(found, _)| found), Some(index));
        assert!(app.danger_storage.iter().all(|name| STORAGE_TO_NAME.contains(&name.as_str())));
        for name in &app.certifiable_names {
            assert!(app.may_certify(name) && !name.contains(':'));
        }
    }
    let rules = policy.rules(TrustAnchor::Intel, ReportData([0; 64]));
    assert_eq!(rules.images.as_ref(), Some(&file.os_images));
    let pairs = file.apps.iter().map(|app| app.compose_hashes.len()).sum();
    assert_eq!(rules.apps.map(|apps| apps.len()), Some(pairs));
    let refused = [TcbStatus::UpToDate, TcbStatus::Revoked];
    let tolerated = rules.platform.accepted_tcb;
    assert!(tolerated.iter().all(|tolerated| !refused.contains(&tolerated.status)));
});
