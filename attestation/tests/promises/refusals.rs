//! Every lie has its own refusal, and honest evidence has none.

use attestation::policy::{
    AcceptedApp, AcceptedAttribute, AcceptedTcb, ExpectedReportData, Explanation, Prediction,
    RequiredEvent, Stage, TcbStatus, TdAttribute,
};
use attestation::{
    AnchorName, CheckName, CheckVerdict, Collateral, EMULATED, Policy, Storage, TrustAnchor, judge,
};
use protocol::app_compose::StorageFs;
use protocol::digest::{
    AppId, ComposeHash, InstanceId, OsImageHash, ReportData, Rtmr, Sha384Digest,
};
use protocol::event_log::{RawEvent, RuntimeEvent};
use protocol::evidence::Evidence;
use protocol::launch::LaunchClaims;

use crate::der;
use crate::forge::{APP, DAY, Forge, NOW, OLD_LEVEL, OLD_MODULE, OLD_QE, key};

/// One row: what is changed in platform, evidence or policy, and the check that must refuse first.
struct Lie {
    what: &'static str,
    forge: fn(&mut Forge),
    evidence: fn(&mut Evidence),
    policy: fn(&mut Policy),
    refused_by: CheckName,
}

const HONEST: Lie = Lie {
    what: "",
    forge: |_| {},
    evidence: |_| {},
    policy: |_| {},
    refused_by: CheckName::TeeType,
};

/// First and last line of a certificate in PEM.
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The platform lies.
fn platform(what: &'static str, refused_by: CheckName, forge: fn(&mut Forge)) -> Lie {
    Lie { what, forge, refused_by, ..HONEST }
}

/// Somebody changed the evidence on its way.
fn tampered(what: &'static str, refused_by: CheckName, evidence: fn(&mut Evidence)) -> Lie {
    Lie { what, evidence, refused_by, ..HONEST }
}

/// The evidence is honest, but not what the policy wants.
fn unwanted(what: &'static str, refused_by: CheckName, policy: fn(&mut Policy)) -> Lie {
    Lie { what, policy, refused_by, ..HONEST }
}

fn tolerated(status: TcbStatus, advisories: &[&str], until_secs: u64) -> AcceptedTcb {
    AcceptedTcb {
        status,
        advisory_ids: advisories.iter().map(ToString::to_string).collect(),
        until_secs,
    }
}

/// An entry of the firmware's in register 0.
fn firmware(event_type: u32, measured: &[u8]) -> RawEvent {
    let digest = Sha384Digest::of(measured).to_string();
    RawEvent { imr: 0, event_type, digest, event: String::new(), event_payload: String::new() }
}

// Long: a table, one row a case.
fn hardware_lies() -> Vec<Lie> {
    use CheckName::*;
    vec![
        tampered("an SGX quote", TeeType, |e| e.quote[4] = 0),
        tampered("a quote of version 3", QuoteFormat, |e| e.quote[0] = 3),
        tampered("a truncated quote", QuoteFormat, |e| e.quote.truncate(1000)),
        tampered("a padded quote", QuoteFormat, |e| e.quote.push(0)),
        platform("another QE vendor", QuoteHeader, |f| f.qe_vendor = 0x94),
        tampered("a flipped bit in the body", QuoteSignature, |e| e.quote[300] ^= 1),
        tampered("a flipped bit in the signature", QuoteSignature, |e| {
            e.quote[48 + 6 + 648 + 4] ^= 1
        }),
        platform("another attestation key", QuoteSignature, |f| f.attestation_key_signs = key(99)),
        platform("text behind the certificates", PckCertificates, |f| {
            f.chain_text = |chain| chain + "text\n";
        }),
        platform("a comment between two certificates", PckCertificates, |f| {
            f.chain_text = |chain| chain.replacen(END, &format!("{END}\n# issuer"), 1);
        }),
        platform("NULs between two certificates", PckCertificates, |f| {
            f.chain_text = |chain| chain.replacen(END, &format!("{END}\n\0"), 1);
        }),
        platform("text before the certificates", PckCertificates, |f| {
            f.chain_text = |chain| format!("subject=PCK\n{chain}");
        }),
        platform("a header in a certificate's block", PckCertificates, |f| {
            f.chain_text = |chain| chain.replacen(BEGIN, &format!("{BEGIN}\nComment: x\n"), 1);
        }),
        platform("other QE authentication data", AttestationKey, |f| f.qe_auth_data[0] = 1),
        platform("another PCK", QeReportSignature, |f| f.pck_signs_qe = key(99)),
        platform("a PCK CA that the root did not sign", PckCertificates, |f| {
            f.root_signs_pck_ca = key(99)
        }),
        platform("a PCK CA whose key may not sign certificates", PckCertificates, |f| {
            f.pck_ca_usage = Some([1, 0x02])
        }),
        unwanted("Intel's root", TrustAnchor, |p| p.anchor = attestation::TrustAnchor::Intel),
        platform("certificates that have expired", CertificateValidity, |f| {
            f.certificates_until = NOW - DAY
        }),
        platform("collateral by another root's signer", CollateralSigners, |f| {
            f.root_signs_tcb_signer = key(99)
        }),
        platform("a revocation list by a stranger", CrlIssuer, |f| f.pck_ca_signs_crl = key(99)),
        platform("a PCK CA whose key may not sign lists", CrlIssuer, |f| {
            f.pck_ca_usage = Some([2, 0x04])
        }),
        platform("a delta revocation list", CrlComplete, |f| {
            f.pck_crl_extension = Some(der::DELTA_CRL)
        }),
        platform("a delta that hides its kind", CrlComplete, |f| {
            f.pck_crl_extension = Some(der::Extension(der::DELTA_CRL.0, false, der::DELTA_CRL.2));
        }),
        platform("a list of some certificates only", CrlComplete, |f| {
            f.pck_crl_extension = Some(der::DISTRIBUTION_POINT);
        }),
        platform("a list that means something unknown", CrlComplete, |f| {
            f.pck_crl_extension = Some(der::UNKNOWN)
        }),
        platform("expired revocation lists", CrlCurrent, |f| f.crls_until = NOW - DAY),
        platform("a revoked PCK", Revocation, |f| f.revoked_by_pck_ca = vec![3]),
        platform("a revoked PCK CA", Revocation, |f| f.revoked_by_root = vec![2]),
        platform("a revoked TCB signer", Revocation, |f| f.revoked_by_root = vec![4]),
        platform("TCB info signed by a stranger", TcbInfoSignature, |f| {
            f.tcb_signer_signs = key(99)
        }),
        platform("expired TCB info", TcbInfoCurrent, |f| f.tcb_info_until = NOW - DAY),
        platform("TCB info of another FMSPC", TcbInfoPlatform, |f| f.stated_fmspc = [0x51; 6]),
        platform("TCB info for SGX", TcbInfoPlatform, |f| f.tcb_info_id = "SGX"),
        platform("QE identity signed by a stranger", QeIdentitySignature, |f| {
            f.qe_identity_signs = key(99)
        }),
        platform("an expired QE identity", QeIdentityCurrent, |f| f.qe_identity_until = NOW - DAY),
        platform("another enclave as QE", QeIdentity, |f| f.qe_signer = [0xef; 32]),
        platform("a QE identity of an unknown version", QeIdentity, |f| f.qe_identity_version = 4),
        platform("an unknown TDX module", TdxModule, |f| f.tee_tcb_svn[1] = 9),
        platform("an update to an unknown TDX module", TdxModule, |f| f.current_tee_tcb_svn[1] = 9),
        platform("QE authentication data that only dcap-qvl measures", QuoteVerification, |f| {
            f.qe_auth_data_bytes(31)
        }),
        platform("a platform below every level", TcbStatus, |f| f.tee_tcb_svn[2] = 0),
        platform("a TDX module below every level", TcbStatus, |f| f.tee_tcb_svn[0] = 1),
        platform("a PCK certificate of an older microcode", TcbStatus, |f| f.cpu_svn = [2; 16]),
        platform("a QE below every level", TcbStatus, |f| f.qe_svn = 2),
        platform("an old TCB", TcbStatus, |f| f.tcb_status = "OutOfDate"),
        platform("an old launch level", TcbStatus, |f| f.tee_tcb_svn[2] = 1),
        platform("a module that was old at launch", TcbStatus, |f| f.tee_tcb_svn[0] = 4),
        platform("an old current level", TcbStatus, |f| f.current_tee_tcb_svn[2] = 1),
        platform("an old current module", TcbStatus, |f| f.current_tee_tcb_svn[0] = 4),
        platform("a revoked module", TcbStatus, |f| f.module_status = "Revoked"),
        platform("an old QE", TcbStatus, |f| f.qe_svn = 3),
        platform("a QE that needs configuration", TcbStatus, |f| {
            f.qe_status = "ConfigurationNeeded"
        }),
        platform("an old QE that needs configuration", TcbStatus, |f| {
            f.qe_status = "OutOfDateConfigurationNeeded"
        }),
        platform("a TCB that needs configuration", TcbStatus, |f| {
            f.tcb_status = "ConfigurationNeeded"
        }),
        platform("a revoked TCB", TcbStatus, |f| f.tcb_status = "Revoked"),
    ]
}

fn td_lies() -> Vec<Lie> {
    use CheckName::*;
    vec![
        platform("DEBUG", Debug, |f| f.td_attributes |= 1),
        platform("a profiling bit", TdAttributes, |f| f.td_attributes |= 1 << 4),
        platform("an unknown attribute bit", TdAttributes, |f| f.td_attributes |= 1 << 40),
        platform("PERFMON, which the policy does not name", TdAttributes, |f| {
            f.td_attributes |= 1 << 63
        }),
        platform("SEPT_VE_DISABLE = 0", SeptVeDisable, |f| f.td_attributes = 0),
        platform("migratable", Migratable, |f| f.td_attributes |= 1 << 29),
        platform("a service TD", ServiceTd, |f| f.mr_service_td = [1; 48]),
        platform("SERVTD_EXT", ServiceTd, |f| f.td_attributes |= 1 << 17),
        platform("a service TD of the TD's creation", ServiceTd, |f| {
            (f.body_type, f.extension[81]) = (4, 1)
        }),
        platform("a service TD bound later", ServiceTd, |f| {
            (f.body_type, f.extension[181]) = (4, 1)
        }),
        platform("attributes of a service TD bound later", ServiceTd, |f| {
            (f.body_type, f.extension[236]) = (4, 1)
        }),
        platform("a virtual machine inside the TD", TdPartition, |f| {
            (f.body_type, f.extension[0]) = (4, 1)
        }),
        platform("attached devices", TdPartition, |f| (f.body_type, f.extension[33]) = (4, 1)),
        platform("PKS", Pks, |f| f.td_attributes |= 1 << 30),
        platform("an unknown XFAM bit", Xfam, |f| f.xfam |= 1 << 40),
        // The module's identity sees these two first.
        platform("SEAM attributes", TdxModule, |f| f.seam_attributes = 1),
        platform("MRSIGNERSEAM", TdxModule, |f| f.mr_signer_seam = [1; 48]),
    ]
}

fn platform_rules() -> Vec<Lie> {
    use CheckName::*;
    vec![
        unwanted("a TCB date", MinimumTcbDate, |p| p.platform.minimum_tcb_date_secs = Some(NOW)),
        unwanted("an evaluation number", EvaluationNumber, |p| {
            p.platform.minimum_evaluation_number = Some(21)
        }),
        unwanted("an age", CollateralAge, |p| p.platform.maximum_collateral_age_secs = Some(DAY)),
        unwanted("another FMSPC", Fmspc, |p| p.platform.fmspcs = Some(vec![[1; 6]])),
        unwanted("an empty list of FMSPCs", Fmspc, |p| p.platform.fmspcs = Some(vec![])),
        unwanted("another platform", PlatformId, |p| p.platform.platform_ids = Some(vec![[1; 16]])),
        unwanted("an empty list of platforms", PlatformId, |p| {
            p.platform.platform_ids = Some(vec![])
        }),
        Lie {
            what: "an advisory that the policy does not name",
            forge: |f| {
                (f.tcb_status, f.advisories) =
                    ("OutOfDate", vec!["INTEL-SA-00001", "INTEL-SA-00002"])
            },
            policy: |p| {
                p.platform.accepted_tcb = vec![tolerated(
                    attestation::policy::TcbStatus::OutOfDate,
                    &["INTEL-SA-00001"],
                    NOW,
                )]
            },
            refused_by: TcbAdvisories,
            ..HONEST
        },
        Lie {
            what: "PKS, tolerated until yesterday",
            forge: |f| f.td_attributes |= 1 << 30,
            policy: |p| {
                p.td.accepted =
                    vec![AcceptedAttribute { attribute: TdAttribute::Pks, until_secs: NOW - DAY }];
            },
            refused_by: Pks,
            ..HONEST
        },
        unwanted("another image than listed", ImageList, |p| {
            p.images = Some(vec![OsImageHash([9; 32])])
        }),
        unwanted("an empty list of images", ImageList, |p| p.images = Some(vec![])),
        unwanted("another app than listed", AppList, |p| {
            p.apps = Some(vec![AcceptedApp::of(protocol::digest::ComposeHash([9; 32]))])
        }),
        unwanted("an empty list of apps", AppList, |p| p.apps = Some(vec![])),
        unwanted("a listed hash under another id", AppList, |p| {
            let own = AcceptedApp::of(protocol::digest::ComposeHash::of(crate::forge::APP));
            let app_id = protocol::digest::AppId([9; 20]);
            p.apps = Some(vec![AcceptedApp { app_id, ..own }]);
        }),
    ]
}

fn event_lies() -> Vec<Lie> {
    use CheckName::*;
    vec![
        tampered("a digest that is none", EventLog, |e| e.event_log[1].digest = "zz".into()),
        tampered("another event type", EventLog, |e| e.event_log[1].event_type = 1),
        tampered("an entry of an unknown register", EventLog, |e| e.event_log[1].imr = 7),
        tampered("a second separator in the firmware's log", EventSeparator, |e| {
            e.event_log.splice(0..0, [firmware(4, b"separator"), firmware(4, b"separator")]);
        }),
        tampered("firmware entries that were not measured", FirmwareLog, |e| {
            e.event_log.insert(0, firmware(4, b"x"))
        }),
        tampered("firmware entries without digest", FirmwareLog, |e| {
            e.event_log.insert(0, RawEvent { digest: String::new(), ..firmware(4, b"x") });
        }),
        tampered("a changed payload", EventPayload, |e| {
            e.event_log[3].event_payload.replace_range(..2, "00")
        }),
        tampered("a changed event with its digest", Rtmr3, |e| {
            e.event_log[3] = RuntimeEvent::new("instance-id", [8; 20]).to_raw();
        }),
        tampered("a dropped event of every boot", EventMissing, |e| drop(e.event_log.remove(3))),
        tampered("a dropped event of this boot", Rtmr3, |e| drop(e.event_log.remove(5))),
        tampered("a moved event", EventOrder, |e| e.event_log.swap(1, 2)),
        tampered("a foreign event in the boot", EventOrder, |e| {
            e.event_log.insert(2, RuntimeEvent::new("mine", "").to_raw());
        }),
        tampered("a repeated event", EventRepeated, |e| {
            e.event_log.insert(2, e.event_log[1].clone())
        }),
        tampered("an event that was not extended", Rtmr3, |e| {
            e.event_log.push(RuntimeEvent::new("mine", "").to_raw());
        }),
        platform("a boot event after the boot", EventLate, |f| {
            f.measured.push(RuntimeEvent::new("os-image-hash", [1; 32]));
        }),
        platform("an app id of another length", MeasuredFacts, |f| {
            f.measured[1] = RuntimeEvent::new("app-id", [1; 19]);
        }),
        unwanted("an event that is not there", RequiredEvents, |p| {
            p.required_events = vec![RequiredEvent { name: "os-image-hash".into(), payload: None }];
        }),
        unwanted("a key provider where none is wanted", ForbiddenEvents, |p| {
            p.forbidden_events = vec!["mine".into(), "key-provider".into()];
        }),
        platform("a boot that is not finished", BootStage, |f| drop(f.measured.pop())),
        unwanted("a key request of a guest that is ready", BootStage, |p| {
            p.stage = Stage::KeyRelease;
        }),
        platform("a key provider that is no JSON", MeasuredFacts, |f| {
            f.measured[5] = RuntimeEvent::new("key-provider", "none");
        }),
        unwanted("another key provider", RequiredEvents, |p| {
            p.required_events =
                vec![RequiredEvent { name: "key-provider".into(), payload: Some(b"{}".to_vec()) }];
        }),
    ]
}

fn launch_lies() -> Vec<Lie> {
    use CheckName::*;
    vec![
        platform("other report data", ReportData, |f| f.report_data[0] ^= 1),
        unwanted("another nonce", ReportData, |p| {
            p.report_data = ExpectedReportData::Nonce([8; 32])
        }),
        platform("other firmware", Mrtd, |f| f.registers[0][0] ^= 1),
        platform("another shape", Rtmr0, |f| f.registers[1][0] ^= 1),
        platform("another kernel", Rtmr1, |f| f.registers[2][0] ^= 1),
        platform("another initrd or command line", Rtmr2, |f| f.registers[3][0] ^= 1),
        tampered("another published file", PublishedCompose, |e| {
            e.app_compose = Some(b"{}".to_vec())
        }),
        unwanted("another app-compose.json", ComposeHash, |p| {
            p.app.as_mut().unwrap().compose_hash = protocol::digest::ComposeHash::of(b"{}");
        }),
        unwanted("another app id", AppId, |p| {
            p.app.as_mut().unwrap().app_id = protocol::digest::AppId([1; 20]);
        }),
        unwanted("another instance", InstanceId, |p| {
            p.app.as_mut().unwrap().instance_id = Some(protocol::digest::InstanceId([1; 20]));
        }),
        platform("another app's MRCONFIGID", MrConfigId, |f| f.mr_config_id[1] ^= 1),
    ]
}

fn all_lies() -> Vec<Lie> {
    let groups = [hardware_lies(), td_lies(), platform_rules(), event_lies(), launch_lies()];
    groups.into_iter().flatten().collect()
}

#[test]
fn honest_evidence_is_verified() {
    for (version, body_type) in [(4, 2), (5, 2), (5, 3), (5, 4)] {
        let forge = Forge { version, body_type, ..Forge::honest() };
        let verified = judge(&forge.evidence(), &forge.policy(), Some(&forge.collateral()), NOW)
            .into_verified()
            .unwrap();
        assert_eq!(verified.trust_anchor(), AnchorName::Emulated);
        let key_provider = verified.key_provider().unwrap();
        assert_eq!((key_provider.name.as_str(), key_provider.id.as_str()), ("none", ""));
        assert_eq!(verified.storage(), Some(&Storage::Known(StorageFs::Btrfs)));
        assert!(!verified.privileged());
        assert_eq!((verified.platform().fmspc, verified.tcb().evaluation_number), ([0x50; 6], 20));
        assert_eq!(verified.tcb().collateral_issued_secs, NOW - 10 * DAY);
        assert_eq!(verified.image().shape.vcpus, 2);
        assert!(verified.proves_roles() && verified.app_events().is_empty());
        assert_eq!(verified.app().compose_hash, ComposeHash::of(APP));
        assert_eq!(verified.app().app_id, AppId::from_compose_hash(&ComposeHash::of(APP)));
        assert_eq!(verified.app().instance_id, Some(InstanceId([9; 20])));
        assert_eq!(verified.report().report_data, ReportData(forge.report_data));
    }
}

#[test]
fn every_lie_is_refused_by_its_own_check() {
    for lie in all_lies() {
        let mut forge = Forge::honest();
        (lie.forge)(&mut forge);
        let (mut evidence, mut policy) = (forge.evidence(), forge.policy());
        (lie.evidence)(&mut evidence);
        (lie.policy)(&mut policy);
        let refusal = judge(&evidence, &policy, Some(&forge.collateral()), NOW)
            .into_verified()
            .expect_err(lie.what);
        assert_eq!(refusal.check(), lie.refused_by, "{}: {refusal}", lie.what);
        assert!(!refusal.hint().is_empty() || !refusal.to_string().is_empty(), "{}", lie.what);
    }
}

/// SEAMATTRIBUTES and MRSIGNERSEAM have rows of their own, for when there is no collateral to
/// compare with.
/// Collateral remembers which signatures were valid, and nothing that could become untrue.
#[test]
fn collateral_that_was_used_before_changes_no_verdict() {
    let honest = Forge::honest();
    let used = || {
        let collateral = honest.collateral();
        let (evidence, policy) = (honest.evidence(), honest.policy());
        assert!(judge(&evidence, &policy, Some(&collateral), NOW).into_verified().is_ok());
        collateral
    };
    for lie in all_lies() {
        let (mut forge, mut policy) = (Forge::honest(), honest.policy());
        (lie.forge)(&mut forge);
        let mut evidence = forge.evidence();
        (lie.evidence)(&mut evidence);
        (lie.policy)(&mut policy);
        for collateral in [honest.collateral(), forge.collateral()] {
            let first = judge(&evidence, &policy, Some(&collateral), NOW);
            let again = judge(&evidence, &policy, Some(&collateral), NOW);
            assert_eq!(first, again, "{}", lie.what);
        }
        let first = judge(&evidence, &policy, Some(&honest.collateral()), NOW);
        assert_eq!(first, judge(&evidence, &policy, Some(&used()), NOW), "{}", lie.what);
    }
    let (evidence, policy) = (honest.evidence(), honest.policy());
    for now in [NOW - 30 * DAY, NOW + 21 * DAY, NOW + 366 * DAY] {
        let collateral = used();
        let first = judge(&evidence, &policy, Some(&honest.collateral()), now);
        let again = judge(&evidence, &policy, Some(&collateral), now);
        assert_eq!(first, again);
        assert!(again.into_verified().is_err());
        assert!(judge(&evidence, &policy, Some(&collateral), NOW).into_verified().is_ok());
    }
    let mut intel = honest.policy();
    intel.anchor = TrustAnchor::Intel;
    let refusal = judge(&evidence, &intel, Some(&used()), NOW).into_verified().unwrap_err();
    assert_eq!(refusal.check(), CheckName::TrustAnchor);
}

#[test]
fn attributes_are_judged_without_collateral() {
    let rows =
        [CheckName::Debug, CheckName::SeamAttributes, CheckName::MrSignerSeam, CheckName::Xfam];
    let mut forge = Forge::honest();
    (forge.td_attributes, forge.seam_attributes, forge.mr_signer_seam, forge.xfam) =
        (1, 1, [1; 48], 1 << 63);
    let appraisal = judge(&forge.evidence(), &forge.policy(), None, NOW);
    for row in rows {
        assert_eq!(appraisal.check(row).unwrap().verdict, CheckVerdict::Fail, "{}", row.name());
    }
    let skipped = appraisal.check(CheckName::TcbStatus).unwrap();
    assert!(
        skipped.verdict == CheckVerdict::Skipped && skipped.finding.hint.contains("no collateral")
    );
}

/// A check that no lie reaches would be dead code.
#[test]
fn every_check_refuses_some_lie() {
    let mut reached: Vec<_> = all_lies().into_iter().map(|lie| lie.refused_by).collect();
    reached.extend([CheckName::SeamAttributes, CheckName::MrSignerSeam]); // attributes_are_judged_without_collateral
    reached.push(CheckName::CollateralFormat); // collateral_that_cannot_be_read_is_named
    for check in CheckName::ALL {
        assert!(reached.contains(check), "no lie for {}", check.name());
    }
}

#[test]
fn collateral_that_cannot_be_read_is_named() {
    let forge = Forge::honest();
    let broken = [
        "root_ca_crl",
        "pck_crl",
        "tcb_info_issuer_chain",
        "tcb_info",
        "qe_identity_issuer_chain",
        "qe_identity",
    ];
    for field in broken {
        let mut json = forge.collateral_json();
        json[field] = "00".into();
        let collateral = Collateral::parse(json.to_string().as_bytes()).unwrap();
        let refusal = judge(&forge.evidence(), &forge.policy(), Some(&collateral), NOW)
            .into_verified()
            .unwrap_err();
        assert_eq!(refusal.check(), CheckName::CollateralFormat, "{field}: {refusal}");
    }
}

#[test]
fn what_nobody_stated_is_skipped_and_never_verified() {
    let forge = Forge::honest();
    let strict = Policy::strict(forge.policy().anchor, ExpectedReportData::Unstated(String::new()));
    let appraisal = judge(&forge.evidence(), &strict, Some(&forge.collateral()), NOW);
    let skipped: Vec<_> =
        appraisal.checks.iter().filter(|row| row.verdict == CheckVerdict::Skipped).collect();
    let names: Vec<_> = skipped.iter().map(|row| row.name.name()).collect();
    assert_eq!(names, ["report-data", "mrtd", "rtmr0", "rtmr1", "rtmr2", "compose-hash"]);
    assert!(
        judge(&forge.evidence(), &strict, Some(&forge.collateral()), NOW).into_verified().is_err()
    );
    let mut unknown = forge.policy();
    unknown.image.as_mut().unwrap().rtmr0 = Prediction::Unknown("no profile for QEMU 9.1".into());
    let refusal = judge(&forge.evidence(), &unknown, Some(&forge.collateral()), NOW)
        .into_verified()
        .unwrap_err();
    assert_eq!((refusal.check(), refusal.hint()), (CheckName::Rtmr0, "no profile for QEMU 9.1"));
}

#[test]
fn line_ends_around_certificates_and_nuls_behind_them_are_no_text() {
    let mut forge = Forge::honest();
    forge.chain_text = |chain| chain.replace(END, &format!("{END}\r\n\n")) + "\n\0\0";
    assert!(
        judge(&forge.evidence(), &forge.policy(), Some(&forge.collateral()), NOW)
            .into_verified()
            .is_ok()
    );
}

/// Security versions have one byte.
#[test]
fn a_tcb_info_with_larger_security_versions_cannot_be_read() {
    let forge = Forge::honest();
    let mut json = forge.collateral_json();
    let text = json["tcb_info"].as_str().unwrap();
    assert!(text.contains("{\"svn\":2}"));
    json["tcb_info"] = text.replacen("{\"svn\":2}", "{\"svn\":65473}", 1).into();
    let collateral = Collateral::parse(json.to_string().as_bytes()).unwrap();
    let report = judge(&forge.evidence(), &forge.policy(), Some(&collateral), NOW);
    let row = report.check(CheckName::CollateralFormat).unwrap();
    assert_eq!(row.verdict, CheckVerdict::Fail);
    assert!(row.finding.found.contains("65473"), "{}", row.finding.found);
}

/// A collateral file that was shared among machines: the input at fault is named.
#[test]
fn certificates_of_another_machine_in_the_collateral_are_named() {
    let forge = Forge::honest();
    let stranger = Forge { pck_key: key(33), ..Forge::honest() };
    let judged = |chain: String| {
        let mut json = forge.collateral_json();
        json["pck_certificate_chain"] = chain.into();
        let collateral = Collateral::parse(json.to_string().as_bytes()).unwrap();
        judge(&forge.evidence(), &forge.policy(), Some(&collateral), NOW).into_verified()
    };
    assert!(judged(forge.pck_chain()).is_ok());
    let refusal = judged(stranger.pck_chain()).unwrap_err();
    assert_eq!(refusal.check(), CheckName::QeReportSignature);
    assert!(refusal.hint().contains("pck_certificate_chain of the collateral file is another"));
}

#[test]
fn an_old_tcb_is_accepted_by_name_for_every_advisory_and_until_a_date() {
    let forge =
        Forge { tcb_status: "OutOfDate", advisories: vec!["INTEL-SA-00001"], ..Forge::honest() };
    let judged = |status, advisories: &[&str], until_secs| {
        let mut policy = forge.policy();
        policy.platform.accepted_tcb = vec![tolerated(status, advisories, until_secs)];
        judge(&forge.evidence(), &policy, Some(&forge.collateral()), NOW)
            .into_verified()
            .map_err(|refusal| refusal.check())
    };
    assert!(judged(TcbStatus::OutOfDate, &["INTEL-SA-00001"], NOW).is_ok());
    assert_eq!(judged(TcbStatus::OutOfDate, &[], NOW).map(drop), Err(CheckName::TcbAdvisories));
    let refused = Err(CheckName::TcbStatus);
    assert_eq!(judged(TcbStatus::OutOfDate, &["INTEL-SA-00001"], NOW - 1).map(drop), refused);
    assert_eq!(judged(TcbStatus::SWHardeningNeeded, &["INTEL-SA-00001"], NOW).map(drop), refused);
}

/// A change of the platform that the forged evidence is of.
type Change = fn(&mut Forge);

/// What the verdict is when a policy tolerates these statuses with every advisory there is.
fn with_tolerated(statuses: &[TcbStatus], change: Change) -> Result<(), (CheckName, String)> {
    let mut forge = Forge::honest();
    change(&mut forge);
    let mut policy = forge.policy();
    let advisories = [OLD_LEVEL, OLD_MODULE, OLD_QE];
    policy.platform.accepted_tcb =
        statuses.iter().map(|status| tolerated(*status, &advisories, NOW)).collect();
    let verified =
        judge(&forge.evidence(), &policy, Some(&forge.collateral()), NOW).into_verified();
    verified.map(drop).map_err(|refusal| (refusal.check(), refusal.to_string()))
}

#[test]
fn a_tolerated_relaunch_covers_an_old_launch_and_nothing_else() {
    use attestation::policy::TcbStatus::*;
    let relaunch = [TDRelaunchAdvised];
    let accepted: [Change; 3] = [
        |f| f.tee_tcb_svn[2] = 1,
        |f| f.tee_tcb_svn[0] = 4,
        |f| (f.tee_tcb_svn[0], f.tee_tcb_svn[2]) = (4, 1),
    ];
    for change in accepted {
        assert_eq!(with_tolerated(&relaunch, change), Ok(()));
    }
    let old_launch_and: [(&str, Change); 6] = [
        ("current level OutOfDate", |f| f.current_tee_tcb_svn[2] = 1),
        ("current TDX module OutOfDate", |f| f.current_tee_tcb_svn[0] = 4),
        ("QE OutOfDate", |f| f.qe_svn = 3),
        ("QE ConfigurationNeeded", |f| f.qe_status = "ConfigurationNeeded"),
        ("current level ConfigurationNeeded", |f| f.tcb_status = "ConfigurationNeeded"),
        ("platform level OutOfDate", |f| f.version = 4), // it does not say what runs it now
    ];
    for (found, and) in old_launch_and {
        let mut forge = Forge::honest();
        forge.tee_tcb_svn[2] = 1;
        and(&mut forge);
        let mut policy = forge.policy();
        let advisories = [OLD_LEVEL, OLD_MODULE, OLD_QE];
        policy.platform.accepted_tcb = vec![tolerated(TDRelaunchAdvised, &advisories, NOW)];
        let verified =
            judge(&forge.evidence(), &policy, Some(&forge.collateral()), NOW).into_verified();
        let refusal = verified.unwrap_err();
        assert_eq!(refusal.check(), CheckName::TcbStatus, "{found}");
        assert!(refusal.to_string().contains(found), "{found}: {refusal}");
    }
    // The current level alone is no reason to launch again.
    let current = with_tolerated(&relaunch, |f| f.current_tee_tcb_svn[2] = 1).unwrap_err();
    assert_eq!(current.0, CheckName::TcbStatus);
}

#[test]
fn each_part_is_tolerated_by_a_status_of_its_own() {
    use attestation::policy::TcbStatus::*;
    let change: Change =
        |f| (f.tee_tcb_svn[2], f.tcb_status, f.qe_svn) = (1, "ConfigurationNeeded", 3);
    let refused = |statuses: &[_]| with_tolerated(statuses, change).unwrap_err().0;
    assert_eq!(refused(&[TDRelaunchAdvisedConfigurationNeeded]), CheckName::TcbStatus);
    assert_eq!(refused(&[OutOfDate]), CheckName::TcbStatus);
    assert_eq!(with_tolerated(&[OutOfDate, ConfigurationNeeded], change), Ok(()));
}

/// Merged, the advisories of the current level are lost.
#[test]
fn the_advisories_of_all_parts_count() {
    let mut forge = Forge::honest();
    (forge.tee_tcb_svn[2], forge.current_tee_tcb_svn[0], forge.qe_svn) = (1, 4, 3);
    let all = [OLD_LEVEL, OLD_MODULE, OLD_QE];
    let judged = |advisories: &[&str]| {
        let mut policy = forge.policy();
        policy.platform.accepted_tcb = vec![tolerated(TcbStatus::OutOfDate, advisories, NOW)];
        judge(&forge.evidence(), &policy, Some(&forge.collateral()), NOW)
    };
    let facts = judged(&all).facts;
    assert_eq!(facts.advisory_ids.unwrap(), all);
    assert_eq!(facts.tcb_status.as_deref(), Some("OutOfDate"));
    assert!(judged(&all).refusal().is_none());
    for missing in all {
        let named: Vec<_> = all.into_iter().filter(|id| *id != missing).collect();
        assert_eq!(judged(&named).refusal().unwrap().check(), CheckName::TcbAdvisories);
    }
}

#[test]
fn every_part_that_is_behind_alone_is_refused_and_stated_with_its_advisories() {
    let parts: [(&str, &str, Change); 5] = [
        ("launch level OutOfDate", OLD_LEVEL, |f| f.tee_tcb_svn[2] = 1),
        ("TDX module at launch OutOfDate", OLD_MODULE, |f| f.tee_tcb_svn[0] = 4),
        ("current level OutOfDate", OLD_LEVEL, |f| f.current_tee_tcb_svn[2] = 1),
        ("current TDX module OutOfDate", OLD_MODULE, |f| f.current_tee_tcb_svn[0] = 4),
        ("QE OutOfDate", OLD_QE, |f| f.qe_svn = 3),
    ];
    for (part, advisory, change) in parts {
        let mut forge = Forge::honest();
        change(&mut forge);
        let appraisal = judge(&forge.evidence(), &forge.policy(), Some(&forge.collateral()), NOW);
        let row = appraisal.check(CheckName::TcbStatus).unwrap();
        assert_eq!(row.verdict, CheckVerdict::Fail, "{part}");
        assert_eq!(row.finding.found, format!("{part} ({advisory})"));
        assert_eq!(appraisal.facts.advisory_ids.unwrap(), [advisory], "{part}");
        assert_ne!(appraisal.facts.tcb_status.as_deref(), Some("UpToDate"), "{part}");
    }
}

#[test]
fn a_part_that_the_merged_status_hides_is_stated() {
    let mut forge = Forge::honest();
    forge.current_tee_tcb_svn[0] = 4;
    let report = judge(&forge.evidence(), &forge.policy(), Some(&forge.collateral()), NOW);
    assert_eq!(report.facts.tcb_status.as_deref(), Some("OutOfDate"));
    assert_eq!(report.facts.advisory_ids.unwrap(), [OLD_MODULE]);
}

/// Two rules do not add up: each is a decision about one state of a platform.
#[test]
fn advisories_are_tolerated_by_one_rule_or_not_at_all() {
    let advisories = vec!["INTEL-SA-00001", "INTEL-SA-00002"];
    let forge = Forge { tcb_status: "OutOfDate", advisories, ..Forge::honest() };
    let mut policy = forge.policy();
    let rule = |advisory| tolerated(TcbStatus::OutOfDate, &[advisory], NOW);
    policy.platform.accepted_tcb = vec![rule("INTEL-SA-00001"), rule("INTEL-SA-00002")];
    let refusal = judge(&forge.evidence(), &policy, Some(&forge.collateral()), NOW)
        .into_verified()
        .unwrap_err();
    assert_eq!(refusal.check(), CheckName::TcbAdvisories);
}

/// What a platform's certificate says of itself cannot be talked away: a revoked level is refused
/// whatever the rules.
#[test]
fn nothing_makes_a_revoked_level_acceptable() {
    let forge = Forge { tcb_status: "Revoked", ..Forge::honest() };
    let mut policy = forge.policy();
    policy.platform.accepted_tcb = vec![tolerated(TcbStatus::Revoked, &[], NOW)];
    let refusal = judge(&forge.evidence(), &policy, Some(&forge.collateral()), NOW)
        .into_verified()
        .unwrap_err();
    assert_eq!(refusal.check(), CheckName::TcbStatus);
}

#[test]
fn attributes_are_tolerated_by_name_until_a_date() {
    use TdAttribute::*;
    for (attribute, bit) in [(Pks, 30), (KeyLocker, 31), (ProvisioningAgent, 62), (Perfmon, 63)] {
        let mut forge = Forge::honest();
        forge.td_attributes |= 1 << bit;
        let mut policy = forge.policy();
        policy.td.accepted = vec![AcceptedAttribute { attribute, until_secs: NOW }];
        let judged =
            |now| judge(&forge.evidence(), &policy, Some(&forge.collateral()), now).into_verified();
        assert!(judged(NOW).is_ok(), "{attribute:?}");
        assert!(judged(NOW + 1).is_err(), "{attribute:?}");
        policy.td.accepted.clear();
        assert!(
            judge(&forge.evidence(), &policy, Some(&forge.collateral()), NOW)
                .into_verified()
                .is_err(),
            "{attribute:?}"
        );
    }
}

#[test]
fn a_list_of_apps_states_the_app_and_a_list_of_images_does_not_state_the_image() {
    let forge = Forge::honest();
    let mut policy = forge.policy();
    let listed = policy.app.take().unwrap().compose_hash;
    policy.apps = Some([ComposeHash([9; 32]), listed].map(AcceptedApp::of).to_vec());
    policy.images = Some(vec![OsImageHash([2; 32])]);
    policy.image.as_mut().unwrap().identity.os_image_hash = OsImageHash([2; 32]);
    assert!(
        judge(&forge.evidence(), &policy, Some(&forge.collateral()), NOW).into_verified().is_ok()
    );
    policy.image = None;
    let refusal = judge(&forge.evidence(), &policy, Some(&forge.collateral()), NOW)
        .into_verified()
        .unwrap_err();
    assert_eq!(refusal.check(), CheckName::ImageList);
    assert!(refusal.to_string().contains("no image was stated"), "{refusal}");
}

#[test]
fn firmware_entries_that_replay_have_rows_that_pass() {
    let entries =
        [firmware(1, b"volume"), firmware(4, b"separator"), firmware(6, b"boot variable")];
    let mut forge = Forge::honest();
    let digests = entries.clone().map(|entry| Sha384Digest::from_hex(&entry.digest).unwrap());
    forge.registers[1] = Rtmr::replay(&digests).0;
    let judged = |forge: &Forge| {
        let mut evidence = forge.evidence();
        evidence.event_log.splice(0..0, entries.clone());
        judge(&evidence, &forge.policy(), None, NOW)
    };
    let incomplete = judged(&forge);
    let row = incomplete.check(CheckName::FirmwareLog).unwrap();
    assert_eq!(row.verdict, CheckVerdict::Skipped);
    assert!(
        row.finding.hint.contains("RTMR1 was extended and has no entry"),
        "{}",
        row.finding.hint
    );
    (forge.registers[2], forge.registers[3]) = ([0; 48], [0; 48]);
    let appraisal = judged(&forge);
    for name in [CheckName::EventSeparator, CheckName::FirmwareLog, CheckName::Rtmr3] {
        assert_eq!(appraisal.check(name).unwrap().verdict, CheckVerdict::Pass, "{}", name.name());
    }
    assert!(
        judge(&forge.evidence(), &forge.policy(), None, NOW)
            .check(CheckName::FirmwareLog)
            .is_none()
    );
}

/// dstack's attestations carry of the firmware's log the ACPI tables alone: too few to replay, and
/// no contradiction.
#[test]
fn a_firmware_log_without_its_separator_is_called_partial() {
    let mut evidence = Forge::honest().evidence();
    let tables = [b"loader", b"rsdp  ", b"tables"].map(|table| firmware(0xa, table));
    evidence.event_log.splice(0..0, tables);
    let forge = Forge::honest();
    let report = judge(&evidence, &forge.policy(), Some(&forge.collateral()), NOW);
    let row = report.check(CheckName::FirmwareLog).unwrap();
    assert_eq!(row.verdict, CheckVerdict::Skipped);
    assert!(row.finding.hint.contains("partial: its entries of RTMR0"), "{}", row.finding.hint);
    assert!(report.checks.iter().all(|row| row.verdict != CheckVerdict::Fail));
    // One that has its separator says that it is whole.
    evidence.event_log.insert(0, firmware(4, &[0; 4]));
    let refusal = judge(&evidence, &forge.policy(), Some(&forge.collateral()), NOW)
        .into_verified()
        .unwrap_err();
    assert_eq!(refusal.check(), CheckName::FirmwareLog);
}

#[test]
fn lists_that_name_the_platform_accept_it() {
    let forge = Forge::honest();
    let mut policy = forge.policy();
    policy.platform.fmspcs = Some(vec![[0x50; 6]]);
    policy.platform.platform_ids = Some(vec![[0x11; 16]]);
    policy.platform.minimum_evaluation_number = Some(20);
    policy.platform.minimum_tcb_date_secs = Some(NOW - 365 * DAY);
    policy.platform.maximum_collateral_age_secs = Some(11 * DAY);
    assert!(
        judge(&forge.evidence(), &policy, Some(&forge.collateral()), NOW).into_verified().is_ok()
    );
}

#[test]
fn a_root_that_is_no_certificate_refuses() {
    let forge = Forge::honest();
    let mut policy = forge.policy();
    policy.anchor = TrustAnchor::DangerEmulated(vec![1, 2, 3]);
    let refusal = judge(&forge.evidence(), &policy, Some(&forge.collateral()), NOW)
        .into_verified()
        .unwrap_err();
    assert_eq!(refusal.check(), CheckName::TrustAnchor);
}

#[test]
fn an_emulated_report_begins_with_what_it_is_worth() {
    let forge = Forge::honest();
    let appraisal = judge(&forge.evidence(), &forge.policy(), Some(&forge.collateral()), NOW);
    assert_eq!(appraisal.facts.notices[0], EMULATED);
    let mut intel = forge.policy();
    intel.anchor = TrustAnchor::Intel;
    assert!(!judge(&forge.evidence(), &intel, None, NOW).facts.notices.contains(&EMULATED));
}

#[test]
fn a_difference_is_explained_by_the_words_for_this_very_value() {
    let mut forge = Forge::honest();
    forge.registers[1] = [4; 48];
    forge.registers[3] = [5; 48];
    let mut policy = forge.policy();
    let image = policy.image.as_mut().unwrap();
    let explained =
        |found| Some(Explanation { found, text: "it is that of 4 vCPUs; you stated 2".into() });
    for (register, found) in [(&mut image.rtmr0, [4; 48]), (&mut image.rtmr2, [6; 48])] {
        let Prediction::Value(expected) = register else { unreachable!() };
        expected.explanation = explained(found);
    }
    image.identity.os_image_hash = protocol::digest::OsImageHash([2; 32]);
    let appraisal = judge(&forge.evidence(), &policy, None, NOW);
    let hint = |name| appraisal.check(name).unwrap().finding.hint.clone();
    assert!(
        hint(CheckName::Rtmr0).starts_with("it is that of 4 vCPUs; you stated 2;"),
        "{}",
        hint(CheckName::Rtmr0)
    );
    assert!(hint(CheckName::Rtmr2).starts_with("no known cause;"), "{}", hint(CheckName::Rtmr2));
    assert!(hint(CheckName::Rtmr2).contains("the evidence claims image 0101"));
}

/// The claims are the host's: whatever they say, the registers decide.
#[test]
fn claims_decide_nothing() {
    let forge = Forge::honest();
    let mut evidence = forge.evidence();
    let LaunchClaims { os_image_hash, shape } = &mut evidence.claims;
    (os_image_hash.0, shape.vcpus) = ([0xff; 32], 64);
    assert!(
        judge(&evidence, &forge.policy(), Some(&forge.collateral()), NOW).into_verified().is_ok()
    );
}
