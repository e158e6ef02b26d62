//! What is a policy, and what is none.

use attestation::policy::{Policy, Stage, TcbStatus};
use attestation::signatures::SignatureError;
use attestation::{TrustAnchor, kms::KmsRefusal};
use proptest::prelude::*;
use protocol::app_compose::StorageFs;
use protocol::digest::{ComposeHash, InstanceId, OsImageHash, PlatformId, ReportData};
use protocol::kms::payload_type;

use super::*;
use crate::fixtures::{
    APP, FILES, IMAGES, NOW, cluster, policy_app, policy_envelope, policy_file, signed, strange,
};

fn verify(file: &PolicyFile) -> Result<SignedPolicy, PolicyRefusal> {
    SignedPolicy::verify(&policy_envelope(file), &cluster(), 0, NOW)
}

#[test]
fn a_policy_counts_with_the_signatures_of_enough_owners_and_no_fewer() {
    let file = policy_file(1);
    let policy = verify(&file).unwrap();
    assert_eq!(policy.file(), &file);
    let few = |signers: &[usize], payload_type| {
        let envelope = signed(payload_type, &file, signers);
        SignedPolicy::verify(&envelope, &cluster(), 0, NOW).unwrap_err()
    };
    let error = few(&[1], payload_type::POLICY);
    assert!(
        matches!(
            &error,
            PolicyRefusal::Document(KmsRefusal::Signatures {
                source: SignatureError::TooFew { counted: 1, threshold: 2 },
                ..
            })
        ),
        "{error:?}"
    );
    assert!(matches!(few(&[], payload_type::POLICY), PolicyRefusal::Document(_)));
    // Signed as something else, it is none.
    assert!(matches!(few(&[0, 1, 2], payload_type::LIST), PolicyRefusal::Document(_)));
}

#[test]
fn a_policy_counts_for_its_cluster_in_its_time_and_after_the_one_before() {
    let good = policy_file(7);
    let other = PolicyFile { key_provider_id: strange(), ..good.clone() };
    assert!(
        matches!(verify(&other), Err(PolicyRefusal::KeyProvider { found, .. }) if found == strange())
    );

    let envelope = policy_envelope(&good);
    let after = |previous| SignedPolicy::verify(&envelope, &cluster(), previous, NOW);
    assert!(after(6).is_ok());
    assert_eq!(after(7), Err(PolicyRefusal::Version { found: 7, previous: 7 }));
    assert_eq!(after(8), Err(PolicyRefusal::Version { found: 7, previous: 8 }));
    assert!(matches!(verify(&policy_file(0)), Err(PolicyRefusal::Version { .. })));

    let at = |now| SignedPolicy::verify(&envelope, &cluster(), 0, now);
    let (not_before_secs, not_after_secs) = (good.not_before_secs, good.not_after_secs);
    assert!(at(not_before_secs).is_ok() && at(not_after_secs).is_ok());
    let now_secs = not_before_secs - 1;
    assert_eq!(at(now_secs), Err(PolicyRefusal::NotYet { not_before_secs, now_secs }));
    let now_secs = not_after_secs + 1;
    assert_eq!(at(now_secs), Err(PolicyRefusal::Expired { not_after_secs, now_secs }));

    let until = |not_after_secs| verify(&PolicyFile { not_after_secs, ..good.clone() });
    assert!(until(not_before_secs + MAX_VALIDITY_SECS).is_ok());
    let long = MAX_VALIDITY_SECS + 1;
    assert_eq!(until(not_before_secs + long), Err(PolicyRefusal::TooLong(long)));
    assert!(matches!(until(not_before_secs - 1), Err(PolicyRefusal::Never { .. })));
    assert!(matches!(until(u64::MAX), Err(PolicyRefusal::TooLong(_))));
}

#[test]
fn a_file_that_means_nothing_or_two_things_is_refused_by_its_place() {
    type Change = fn(&mut PolicyFile);
    let rows: [(&str, Change); 16] = [
        ("apps: ", |file| file.apps.push(policy_app())),
        ("os_images: ", |file| file.os_images.push(IMAGES[0])),
        ("platform_ids: ", |file| file.platform_ids = Some(vec![PlatformId([5; 16]); 2])),
        ("danger_go_back_to_images: ", |file| {
            file.danger_go_back_to_images = vec![OsImageHash([9; 32])];
        }),
        ("apps[0].compose_hashes: ", |file| file.apps[0].compose_hashes.push(FILES[1])),
        ("apps[0].danger_go_back_to: ", |file| {
            file.apps[0].danger_go_back_to = vec![ComposeHash([9; 32])];
        }),
        ("apps[0].instances: ", |file| {
            file.apps[0].instances = Instances::Ids(vec![InstanceId([1; 20]); 2]);
        }),
        ("apps[0].danger_storage: ", |file| file.apps[0].danger_storage = vec!["zfs".into()]),
        ("apps[0].certifiable_names: ", |file| {
            file.apps[0].certifiable_names = vec!["*".into()];
        }),
        ("apps[0].certifiable_names: ", |file| {
            file.apps[0].certifiable_names = vec!["*.*.example".into()];
        }),
        ("apps[0].certifiable_names: ", |file| {
            file.apps[0].certifiable_names = vec!["kms:rpc".into()];
        }),
        ("apps[0].certifiable_names: ", |file| {
            file.apps[0].certifiable_names = vec!["-a.example".into()];
        }),
        ("apps[0].certifiable_names: ", |file| {
            file.apps[0].certifiable_names = vec!["a..example".into()];
        }),
        ("tolerate_tcb[0].status: ", |file| {
            file.tolerate_tcb = vec![tolerated(TcbStatus::Revoked, "INTEL-SA-00001")]
        }),
        ("tolerate_tcb[0].status: ", |file| {
            file.tolerate_tcb = vec![tolerated(TcbStatus::UpToDate, "INTEL-SA-00001")]
        }),
        ("tolerate_tcb[0].advisories: ", |file| {
            file.tolerate_tcb = vec![tolerated(TcbStatus::OutOfDate, "*")]
        }),
    ];
    for (place, change) in rows {
        let mut file = policy_file(1);
        change(&mut file);
        let error = verify(&file).unwrap_err();
        assert!(matches!(error, PolicyRefusal::Unsound(_)), "{place}{error:?}");
        assert!(error.to_string().contains(place), "{place}{error}");
    }
}

fn tolerated(status: TcbStatus, advisory: &str) -> ToleratedTcb {
    ToleratedTcb { status, advisories: vec![advisory.into()], until_secs: NOW }
}

#[test]
fn json_with_unknown_or_repeated_keys_is_no_policy() {
    let text = String::from_utf8(policy_file(1).to_json()).unwrap();
    let refused = |text: &str| {
        let value: &serde_json::value::RawValue = serde_json::from_str(text).unwrap();
        let envelope = signed(payload_type::POLICY, &value, &[0, 1]);
        assert!(
            matches!(
                SignedPolicy::verify(&envelope, &cluster(), 0, NOW),
                Err(PolicyRefusal::Document(KmsRefusal::Document { .. }))
            ),
            "{text}"
        );
    };
    refused(&text.replacen('{', r#"{"more":1,"#, 1));
    refused(&text.replacen('{', r#"{"version":2,"#, 1));
    refused(&text.replace(r#""apps":[{"#, r#""apps":[{"danger":true,"#));
    refused(&text.replace(r#""instances":1"#, r#""instances":"all""#));
    refused(&text.replace(r#""instances":1"#, r#""instances":-1"#));
    refused("{}");
}

#[test]
fn instances_are_a_word_a_number_or_ids() {
    let id = format!("[\"{}\"]", "bb".repeat(20));
    for text in ["\"any\"", "0", "3", &id, "[]"] {
        let instances: Instances = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&instances).unwrap(), text);
    }
}

#[test]
fn an_envelope_beyond_its_budget_is_not_read() {
    let envelope = " ".repeat(MAX_ENVELOPE_BYTES + 1);
    let refused = SignedPolicy::verify(&envelope, &cluster(), 0, NOW);
    assert_eq!(refused, Err(PolicyRefusal::TooLarge(MAX_ENVELOPE_BYTES + 1)));
}

#[test]
fn names_are_certified_exactly_or_one_label_below_a_wildcard() {
    let app = policy_app();
    let legal = ["app.example", "wild.example", "a.wild.example", "*.wild.example"];
    let others = [
        "example",
        "a.app.example",
        "a.b.wild.example",
        "awild.example",
        "App.example",
        ".wild.example",
        "*.app.example",
        "",
    ];
    assert!(legal.iter().all(|name| app.may_certify(name)));
    assert!(!others.iter().any(|name| app.may_certify(name)));
    assert!(!PolicyApp { certifiable_names: Vec::new(), ..app }.may_certify("app.example"));
}

#[test]
fn the_judgement_gets_every_rule_and_empty_lists_stay_empty() {
    let mut file = policy_file(1);
    file.tolerate_tcb = vec![tolerated(TcbStatus::SWHardeningNeeded, "INTEL-SA-00001")];
    let report_data = ReportData([7; 64]);
    let rules = verify(&file).unwrap().rules(TrustAnchor::Intel, report_data);
    assert_eq!(rules.platform.platform_ids, Some(vec![[5; 16]]));
    assert_eq!(rules.platform.minimum_evaluation_number, Some(17));
    assert_eq!(rules.platform.minimum_tcb_date_secs, file.minimum_tcb_date_secs);
    assert_eq!(rules.platform.accepted_tcb[0].until_secs, NOW);
    assert_eq!(rules.images, Some(IMAGES.to_vec()));
    let pairs: Vec<_> =
        rules.apps.iter().flatten().map(|app| (app.app_id, app.compose_hash)).collect();
    assert_eq!(pairs, FILES.map(|hash| (APP, hash)));
    assert_eq!(rules.stage, Stage::KeyReleaseOrLater);

    let empty = PolicyFile {
        apps: Vec::new(),
        os_images: Vec::new(),
        platform_ids: Some(Vec::new()),
        ..policy_file(1)
    };
    let Policy { apps, images, platform, .. } =
        verify(&empty).unwrap().rules(TrustAnchor::Intel, report_data);
    assert_eq!((apps, images), (Some(Vec::new()), Some(Vec::new())));
    assert_eq!(platform.platform_ids, Some(Vec::new()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_changed_byte_makes_no_other_policy(place in any::<proptest::sample::Index>(), bit in 0u8..8) {
        let envelope = policy_envelope(&policy_file(1));
        let good = SignedPolicy::verify(&envelope, &cluster(), 0, NOW).unwrap();
        let mut bytes = envelope.into_bytes();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        if let Ok(text) = String::from_utf8(bytes)
            && let Ok(policy) = SignedPolicy::verify(&text, &cluster(), 0, NOW)
        {
            prop_assert_eq!(policy.file(), good.file());
        }
    }
}

#[test]
fn every_file_system_but_the_default_must_be_named() {
    let others = StorageFs::ALL.into_iter().filter(|fs| *fs != StorageFs::default());
    let mut names: Vec<_> = others.map(StorageFs::name).collect();
    names.sort_by_key(|name| STORAGE_TO_NAME.iter().position(|known| known == name));
    assert_eq!(names, STORAGE_TO_NAME);
}
