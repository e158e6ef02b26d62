//! Pads in a guest: a service of the app has a program run on a Pad whose key a KMS keeps.
//!
//! One custodian keeps its numbers with the KMS; the owner of the program may ask for their mean
//! once an hour. All commands are those of their users.

use std::fs;

use protocol::channel::Role;
use protocol::digest::Sha256Digest;
use protocol::pad_calls::{Outcome, OutputKind};
use serde_json::{Value, json};
use tests::http;

use crate::notes::cut_power;
use crate::pad_scene::{Asked, PARTIES, Scene, TIMEOUT, assert_refused};
use crate::{pad_kills, step};

/// The machine.
pub const NAME: &str = "promise-pads";
/// Places of services in the compose file.
const QUOTES: usize = 1;
const WITHOUT: usize = 2;
/// The custodian's numbers, and their mean.
const NUMBERS: (&str, &str) = ("1\n2\n3.5\n5.5\n", "3.000");
/// Who may read them, by which program, and how often.
const POLICY: &str = r#"
engine = { file = "share.wasm" }
input_id = "numbers"

[custodians]
b = { file = "b.custodian" }

[programs]
mean = { file = "mean.wasm" }

[[program]]
rule = "PROGRAM_IN"
programs = ["mean"]

[[program]]
rule = "AUTH_USER"
owners = ["b"]

[[program]]
rule = "RATE_LIMIT"
quota = "7a1f0c3d5b9e48a2b6d4e8f0123c5a79"
limits = { b = "1 per hour" }

[[output]]
rule = "PLAIN_RESULT"
schema = "number"
max_bytes = 32
"#;

/// A run that the policy allows gives its result; one above the quota, one of nobody and one of
/// another app's key give none. A service that is not named has no socket, and no container has a
/// quote in the middleware's name. What is cut in the middle of a run changes none of that.
pub fn are_run_on_by_the_service_that_is_named() {
    let mut scene = step("pads: images", || Scene::new(NAME, &["pads"]));
    step("pads: boot, with a KMS", || scene.boots(None, &[]));
    let measured = scene.read("app-compose.json");
    let measured = String::from_utf8(measured).unwrap();
    assert!(measured.contains(r#""pad_services":["runs"]"#), "{measured}");
    step("pads: the other services", || others_have_nothing(&scene));
    step("pads: a custodian", || a_custodian_pushes_a_key(&scene));
    step("pads: runs", || runs(&scene));
    let scene = pad_kills::some_in(scene);
    cut_power(&scene.owner.0, NAME);
}

fn others_have_nothing(scene: &Scene) {
    let (status, text) = http::send(scene.service(WITHOUT), "POST", "/draw", b"", TIMEOUT).unwrap();
    assert_eq!(status, 502, "{}", String::from_utf8_lossy(&text));
    let mut report_data = Role::Pads.quoting().unwrap().tag().to_vec();
    report_data.resize(64, 7);
    let body = json!({ "report_data": hex::encode(report_data) }).to_string();
    for path in ["/GetQuote?json", "/Attest?json"] {
        let quotes = scene.service(QUOTES);
        let (status, text) = http::send(quotes, "POST", path, body.as_bytes(), TIMEOUT).unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(status == 400 && text.contains("is reserved"), "{path}: {status} {text}");
    }
}

fn a_custodian_pushes_a_key(scene: &Scene) {
    scene.enrols();
    fs::write(scene.path("policy.toml"), POLICY).unwrap();
    for pad in ["numbers.pad", "elsewhere.pad"] {
        scene.packs(&scene.owner, NUMBERS.0, "policy.toml", "a", pad);
    }
    scene.pushes(&scene.owner, "numbers.pad", "a", "");
    // The key of the other Pad is for guests of another app.
    let another = format!("--app-id {}", "07".repeat(20));
    scene.pushes(&scene.owner, "elsewhere.pad", "a", &another);
}

fn runs(scene: &Scene) {
    let files = ["share.wasm", "mean.wasm", "numbers.pad", "elsewhere.pad"];
    files.iter().for_each(|name| scene.puts(name));
    let (status, _) = scene.call("PUT", &format!("/files/{}", Sha256Digest::ZERO), b"other");
    assert_eq!(status, 400, "a file is named by its own digest");
    assert_eq!(scene.listed().len(), files.len());

    calls_that_are_none_are_refused(scene);
    let unowned = step("pads: a run of nobody", || run(scene, "numbers.pad", false));
    assert_refused(&unowned, "AUTH_USER");
    let elsewhere = step("pads: a key for another app", || run(scene, "elsewhere.pad", true));
    assert_refused(&elsewhere, "app-not-granted");
    let allowed = step("pads: an allowed run", || run(scene, "numbers.pad", true));
    assert_eq!((&allowed.ended, &allowed.refusals), (&None, &vec![]), "{allowed:#?}");
    let [result] = allowed.outputs[..] else { panic!("{allowed:#?}") };
    assert_eq!(result.kind, OutputKind::Result);
    let sealed = scene.fetched(&result.sha256).unwrap();
    assert_eq!(sealed.len() as u64, result.bytes);
    assert_eq!(scene.opened(&allowed.run, &sealed), NUMBERS.1);
    let (status, again) = scene.call("GET", &format!("/runs/{}", hex::encode(&allowed.run)), b"");
    let again: Outcome = serde_json::from_slice(&again).unwrap();
    assert_eq!((status, again), (200, allowed));
    let used_up = step("pads: a run above the quota", || run(scene, "numbers.pad", true));
    assert_refused(&used_up, "RATE_LIMIT");
    scene.does("revoke numbers.pad.key --key a.key");
    assert_refused(&run(scene, "numbers.pad", true), "key-revoked");
    for kind in ["pad_keys_released", "quotas_spent", "audit_head_given"] {
        assert!(!scene.audited(kind).is_empty(), "the custodian reads of no {kind}");
    }
}

/// Each with its status and its reason, and the service goes on.
fn calls_that_are_none_are_refused(scene: &Scene) {
    let good = scene.request_of(&asked(&["numbers.pad"], false), &[7; 16], Vec::new());
    let good = serde_json::to_value(good).unwrap();
    let absent = Sha256Digest::ZERO.to_string();
    let changed = |key: &str, value: Value| {
        let mut document = good.clone();
        document[key] = value;
        ("/run", document)
    };
    let update = json!({
        "run": "07".repeat(16), "engines": [], "pad": absent, "policies": ["00"], "signed": "",
        "party": good["parties"][0],
    });
    let rows = [
        (changed("plan", json!(1)), 400, "unknown field"),
        (changed("run", json!("07")), 400, "run: found 1"),
        (changed("limits", json!({ "wall_millis": 600_001 })), 400, "limits.wall_millis"),
        (changed("parties", json!(vec![&good["parties"][0]; 65])), 400, "parties: found 65"),
        (changed("pads", json!([absent])), 404, "has no file"),
        (changed("program", json!("service:without")), 404, "no program of a service"),
        (changed("limits", json!({ "proposals": 65 })), 400, "limits.proposals"),
        (("/update", update), 400, "policies: "),
        (("/nowhere", Value::Null), 404, "nothing is here"),
    ];
    for ((path, document), expected, reason) in rows {
        let (status, text) = scene.call("POST", path, document.to_string().as_bytes());
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(status == expected && text.contains(reason), "{reason}: {status} {text}");
        assert!(text.contains("\"hint\""), "{text}");
    }
    let (status, _) = scene.call("GET", &format!("/runs/{}", "07".repeat(16)), b"");
    assert_eq!(status, 404, "a run that never began");
    let undrawn = scene.request_of(&asked(&["numbers.pad"], false), &[7; 16], Vec::new());
    assert_refused(&scene.outcome(&undrawn), "run");
}

/// The mean of these Pads, signed by B or by nobody.
fn asked<'a>(pads: &'a [&'a str], is_signed: bool) -> Asked<'a> {
    Asked { program: "mean.wasm", pads, plain: None, is_signed, parties: PARTIES }
}

fn run(scene: &Scene, pad: &str, is_signed: bool) -> Outcome {
    scene.outcome(&scene.request(&asked(&[pad], is_signed)))
}
