//! Collateral: unreadable, by others, expired, changed, of another platform; and platforms that it
//! calls old.

use attestation::CheckName::*;
use attestation::policy::{self, AcceptedTcb};
use serde_json::Value;
use tdx_emulator::lie::Lie;
use tdx_emulator::quote::QuoteVersion;
use tests::scene::now_secs;

use crate::case::{Case, Row, lie, row};

const DAY_SECS: u64 = 24 * 3600;
/// What the emulator's TCB info says of old machines.
const ADVISORY: &str = "INTEL-SA-00000";

pub fn rows() -> Vec<Row> {
    [unreadable(), foreign(), of_others(), old()].into_iter().flatten().collect()
}

fn unreadable() -> Vec<Row> {
    vec![
        row("TCB info that is none", &[CollateralFormat], "TCB info:", |case| {
            case.collateral = |json| json["tcb_info"] = "{}".into();
        }),
        row("a QE identity that is none", &[CollateralFormat], "QE identity:", |case| {
            case.collateral = |json| json["qe_identity"] = "[]".into();
        }),
        row("a revocation list that is none", &[CollateralFormat], "PCK CA's list:", |case| {
            case.collateral = |json| json["pck_crl"] = "3000".into();
        }),
        row("a root's list that is none", &[CollateralFormat], "root CA's list:", |case| {
            case.collateral = |json| json["root_ca_crl"] = "".into();
        }),
        row("signers that are none", &[CollateralFormat], "signers of the TCB info:", |case| {
            case.collateral = |json| json["tcb_info_issuer_chain"] = "".into();
        }),
    ]
}

fn foreign() -> Vec<Row> {
    vec![
        lie!(
            ForeignTcbSigner,
            &[CollateralSigners],
            "TCB Signing\\, proves nothing,O=dstyx emulator is not issued by it"
        ),
        lie!(ForeignCrl, &[CrlIssuer], "both lists must be signed"),
        row(
            "the root's list in place of the PCK CA's",
            &[CrlIssuer],
            "found lists by CN=DANGER dstyx EMULATED root\\, proves nothing,O=dstyx emulator and CN=DANGER dstyx EMULATED root",
            |case| {
                case.collateral = |json| json["pck_crl"] = json["root_ca_crl"].clone();
            },
        ),
        lie!(PartialCrl, &[CrlComplete], "2.5.29.28"),
        lie!(ExpiredCrl, &[CrlCurrent], "root CA's list: 2026-09-22"),
        lie!(ExpiredCollateral, &[TcbInfoCurrent, QeIdentityCurrent], "TCB info: 2026-09-22"),
        row(
            "an expired QE identity beside new TCB info",
            &[QeIdentityCurrent],
            "QE identity: 2026-09-22",
            |case| {
                case.collateral = |json| take(json, "qe_identity", &old_collateral());
            },
        ),
        row(
            "expired TCB info beside a new QE identity",
            &[TcbInfoCurrent],
            "fetch the collateral again",
            |case| {
                case.collateral = |json| take(json, "tcb_info", &old_collateral());
            },
        ),
    ]
}

fn of_others() -> Vec<Row> {
    vec![
        row(
            "TCB info changed after it was signed",
            &[TcbInfoSignature],
            "TCB info is not signed",
            |case| {
                case.collateral = |json| change(json, "tcb_info", "2024-03-13", "2020-01-01");
            },
        ),
        row(
            "a QE identity changed after it was signed",
            &[QeIdentitySignature],
            "QE identity is not signed",
            |case| {
                case.collateral = |json| change(json, "qe_identity", "2026-02-11", "2026-02-12");
            },
        ),
        lie!(WrongFmspc, &[TcbInfoPlatform], "FMSPC 90c06f000000"),
        lie!(WrongQeIdentity, &[QeIdentity], "found MRSIGNER 616e6f74"),
    ]
}

fn old() -> Vec<Row> {
    vec![
        lie!(OldTcb, &[TcbStatus], "found platform level OutOfDate (INTEL-SA-00000)"),
        lie!(OldLaunch, &[TcbStatus], "found launch level OutOfDate (INTEL-SA-00002)"),
        lie!(OldCurrent, &[TcbStatus], "found current level OutOfDate (INTEL-SA-00002)"),
        lie!(OldModule, &[TcbStatus], "found TDX module OutOfDate (INTEL-SA-00003)"),
        lie!(OldQe, &[TcbStatus], "found QE OutOfDate (INTEL-SA-00004)"),
        lie!(UnconfiguredQe, &[TcbStatus], "found QE ConfigurationNeeded (INTEL-SA-00005)"),
        relaunch(
            "a relaunch that is tolerated covers no current level",
            "found current level OutOfDate",
            |case| case.scene.lie = Some(Lie::OldCurrent),
        ),
        relaunch(
            "a relaunch that is tolerated covers no module",
            "found TDX module at launch OutOfDate (INTEL-SA-00003); current TDX module OutOfDate",
            |case| case.scene.lie = Some(Lie::OldModule),
        ),
        relaunch("a relaunch that is tolerated covers no QE", "found QE OutOfDate", |case| {
            case.scene.lie = Some(Lie::OldQe);
        }),
        Row {
            given: Some(|case| tolerate(case, &["INTEL-SA-00001"], DAY_SECS)),
            ..row(
                "an old TCB with an advisory that is not tolerated",
                &[TcbAdvisories],
                "found INTEL-SA-00000",
                |case| {
                    case.scene.lie = Some(Lie::OldTcb);
                },
            )
        },
        Row {
            given: Some(|case| {
                tolerate(case, &[ADVISORY], DAY_SECS);
                case.scene.lie = Some(Lie::OldTcb);
            }),
            ..row(
                "an old TCB that was tolerated until yesterday",
                &[TcbStatus],
                "OutOfDate until 2026-11-22",
                |case| {
                    case.now_secs += 2 * DAY_SECS;
                },
            )
        },
    ]
}

/// A row whose policy tolerates a TD that should be launched again, whatever its advisories.
fn relaunch(name: &'static str, message: &'static str, wrong: fn(&mut Case)) -> Row {
    let given = |case: &mut Case| {
        let advisories = ["INTEL-SA-00002", "INTEL-SA-00003", "INTEL-SA-00004"];
        tolerate(case, &advisories, DAY_SECS);
        case.policy.platform.accepted_tcb[0].status = policy::TcbStatus::TDRelaunchAdvised;
        case.scene.version = QuoteVersion::V5;
        case.scene.lie = Some(Lie::OldLaunch);
    };
    Row { given: Some(given), ..row(name, &[TcbStatus], message, wrong) }
}

/// Lets the policy tolerate an old TCB for some time.
fn tolerate(case: &mut Case, advisories: &[&str], secs: u64) {
    case.policy.platform.accepted_tcb = vec![AcceptedTcb {
        status: policy::TcbStatus::OutOfDate,
        advisory_ids: advisories.iter().map(ToString::to_string).collect(),
        until_secs: now_secs() + secs,
    }];
}

/// A month out of date.
fn old_collateral() -> Value {
    let scene = tests::scene::Scene {
        lie: Some(Lie::ExpiredCollateral),
        ..tests::scene::Scene::synthetic()
    };
    serde_json::from_slice(&scene.collateral_json()).unwrap()
}

/// Takes a signed document, with its signature, from other collateral.
fn take(json: &mut Value, key: &str, from: &Value) {
    for key in [key.to_owned(), format!("{key}_signature")] {
        json[&key] = from[&key].clone();
    }
}

fn change(json: &mut Value, key: &str, from: &str, to: &str) {
    let text = json[key].as_str().unwrap();
    assert!(text.contains(from), "{key} has no {from}");
    json[key] = text.replacen(from, to, 1).into();
}
