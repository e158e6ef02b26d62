//! Promise: evidence of others is judged as ours is, by the same rows, whatever its format; and
//! what cannot be read says why.
//!
//! The real program judges real evidence of real hardware. Its collateral is long past, so the rows
//! that need it stay open; what the logs and quotes show does not depend on a date.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use protocol::digest::{ComposeHash, ReportData};
use protocol::event_log::RawEvent;
use protocol::foreign;
use serde_json::{Value, json};
use tests::dstyx::{Answer, User};
use tests::stranger::{NOW, quote_of, vector, vector_bytes, write_dstack_image};

/// Rows that say that what is in a log is what was extended.
const REPLAY: [&str; 5] =
    ["event-log", "event-payload", "event-separator", "firmware-log", "rtmr3"];

/// Real evidence, and how many rows of the boot's order its generation of dstack does not keep.
const REAL: [(&str, &[&str]); 3] = [
    ("protocol/dstack-getquote.json", &[]),
    // dstack 0.3 measured its root file system in an event that no longer exists.
    ("measurement/dstack-0.3-1cpu-1GiB.json", &["event-order"]),
    ("protocol/dstack-attestation-v0.bin", &[]),
];

#[test]
fn all_registers_of_real_evidence_replay() {
    for (file, failing) in REAL {
        let answer = verify(&vector(file), &[]);
        for row in REPLAY {
            assert_eq!(answer.verdict(row), "pass", "{file}: {row}: {answer:#?}");
        }
        assert_eq!(answer.failed(), failing, "{file}");
        assert_eq!(answer.verdict("quote-signature"), "pass", "{file}");
        assert_eq!(answer.verdict("report-data"), "skipped", "{file}");
        assert!(answer.hint("report-data").contains("--report-data"), "{file}");
    }
}

#[test]
fn the_same_evidence_in_a_request_is_judged_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("request.json");
    let lite: Value =
        serde_json::from_slice(&vector_bytes("protocol/dstack-getquote.json")).unwrap();
    let attestation = hex::encode(vector_bytes("protocol/dstack-attestation-v0.bin"));
    let requests = [
        (
            REAL[0].0,
            json!({"quote": lite["quote"], "event_log": lite["event_log"], "vm_config": lite["vm_config"]}),
        ),
        (REAL[2].0, json!({"attestation": attestation, "debug": false})),
    ];
    for (original, request) in requests {
        fs::write(&file, request.to_string()).unwrap();
        let (ours, theirs) = (verify(&file, &[]), verify(&vector(original), &[]));
        assert_eq!(ours.json["facts"], theirs.json["facts"]);
        assert_eq!(ours.failed(), theirs.failed());
    }
}

/// The attestation of dstack 0.6 carries of the firmware's log the three ACPI tables alone.
#[test]
fn an_attestation_with_a_part_of_the_log_is_called_partial_and_fails_in_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("attestation");
    let whole = foreign::read(&vector_bytes("protocol/dstack-attestation-v0.bin"), &[]).unwrap();
    let encoded = |log: &[RawEvent]| {
        let report_data = ReportData(whole.stated_report_data.clone().unwrap().try_into().unwrap());
        foreign::scale::encode(&whole.evidence.quote, log, &report_data, "")
    };
    let mut log = whole.evidence.event_log.clone();
    let mut tables = 0;
    log.retain(|event| {
        tables += u32::from((event.imr, event.event_type) == (0, 0xa));
        event.imr == 3 || ((event.imr, event.event_type) == (0, 0xa) && tables <= 3)
    });
    assert_eq!(log.iter().filter(|event| event.imr == 0).count(), 3);
    fs::write(&file, encoded(&log)).unwrap();
    let answer = verify(&file, &[]);
    assert_eq!(answer.failed(), [""; 0]);
    assert_eq!(answer.verdict("firmware-log"), "skipped");
    assert!(answer.hint("firmware-log").contains("the log is partial"), "{answer:#?}");
    log.retain(|event| event.imr == 3);
    fs::write(&file, encoded(&log)).unwrap();
    let answer = verify(&file, &[]);
    assert_eq!(answer.failed(), [""; 0]);
    let rows = answer.json["checks"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["name"] != "firmware-log"), "an absent log has no row");
}

/// Explorers and issue reports show quotes as text, clients decode logs to lists, and dstack 0.6
/// adds an attestation.
#[test]
fn the_usual_forms_of_one_answer_are_judged_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("evidence");
    let lite: Value =
        serde_json::from_slice(&vector_bytes("protocol/dstack-getquote.json")).unwrap();
    let original = verify(&vector("protocol/dstack-getquote.json"), &[]);
    let converted = foreign::read(lite.to_string().as_bytes(), &[]).unwrap();
    let evidence = converted.evidence;
    let report_data = ReportData(converted.stated_report_data.unwrap().try_into().unwrap());
    let attestation =
        foreign::scale::encode(&evidence.quote, &evidence.event_log, &report_data, "");
    let with = |key: &str, value: Value| {
        let mut answer = lite.clone();
        answer[key] = value;
        answer.to_string()
    };
    let base64 = base64::engine::general_purpose::STANDARD.encode(&evidence.quote);
    let forms = [
        with("event_log", serde_json::to_value(&evidence.event_log).unwrap()),
        with("quote", format!("0x{}", hex::encode_upper(&evidence.quote)).into()),
        with("quote", base64.clone().into()),
        // The quote in the file has zero bytes behind it, as the one in its attestation.
        json!({
            "quote": hex::encode(&evidence.quote), "event_log": lite["event_log"],
            "report_data": lite["report_data"], "vm_config": lite["vm_config"],
            "attestation": hex::encode(attestation),
        })
        .to_string(),
    ];
    for form in forms {
        fs::write(&file, form).unwrap();
        assert_eq!(verify(&file, &[]).json["checks"], original.json["checks"]);
    }
    let raw = |text: String| {
        fs::write(&file, text).unwrap();
        verify(&file, &[]).json["checks"].clone()
    };
    let bytes = directory.path().join("quote.bin");
    fs::write(&bytes, &evidence.quote).unwrap();
    let expected = verify(&bytes, &[]).json["checks"].clone();
    assert_eq!(raw(hex::encode(&evidence.quote) + "\n"), expected);
    assert_eq!(raw(base64), expected);
}

#[test]
fn report_data_is_what_a_person_states() {
    let file = vector("protocol/dstack-getquote.json");
    let lite: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let stated = lite["report_data"].as_str().unwrap();
    assert_eq!(verify(&file, &["--report-data", stated]).verdict("report-data"), "pass");
    assert_eq!(verify(&file, &["--report-data", &"00".repeat(64)]).verdict("report-data"), "fail");
    assert!(verify(&file, &["--report-data", "00"]).stderr.contains("all 64 bytes"));
}

/// A later version of an app runs under the id of the first, which its file does not say.
#[test]
fn the_id_of_an_upgraded_app_is_stated_beside_its_version() {
    let file = vector("protocol/dstack-getquote.json");
    let facts = verify(&file, &[]).json["facts"].clone();
    let [hash, id] = ["compose_hash", "app_id"].map(|key| facts[key].as_str().unwrap());
    let with = |id: &str| verify(&file, &["--compose-hash", hash, "--app-id", id]);
    assert_eq!(with(id).verdict("app-id"), "pass");
    assert_eq!(with(&"0".repeat(40)).verdict("app-id"), "fail");
    assert!(with("00").stderr.contains("40 hex digits"));
    assert!(verify(&file, &["--app-id", id]).stderr.contains("without an app"));
}

/// Whether dstyx could boot an app is no matter of a verdict: its file is hashed and compared.
#[test]
fn an_app_that_could_not_be_booted_here_is_compared_by_its_hash() {
    let file = vector("protocol/dstack-getquote.json");
    let measured = verify(&file, &[]).text("/facts/compose_hash").to_owned();
    assert_eq!(verify(&file, &["--compose-hash", &measured]).verdict("compose-hash"), "pass");
    let other = "0".repeat(64);
    assert_eq!(verify(&file, &["--compose-hash", &other]).verdict("compose-hash"), "fail");
    assert!(verify(&file, &["--compose-hash", "00"]).stderr.contains("SHA-256"));
    let directory = tempfile::tempdir().unwrap();
    let app_compose = vector_bytes("protocol/dstack-app-compose.json");
    fs::write(directory.path().join("app-compose.json"), &app_compose).unwrap();
    let answer = verify(&file, &["--app", &text(directory.path())]);
    assert_eq!((answer.code, answer.verdict("compose-hash")), (1, "fail"), "{answer:#?}");
    let check = answer.json["checks"].as_array().unwrap().iter();
    let row = check.clone().find(|row| row["name"] == "compose-hash").unwrap();
    assert_eq!(row["expected"], ComposeHash::of(&app_compose).to_string());
}

#[test]
fn a_quote_with_its_ccel_replays_and_a_second_separator_is_named() {
    let quote = vector("protocol/cos-113-quote.bin");
    let answer = verify(&quote, &["--event-log", &text(&vector("protocol/cos-113-ccel.bin"))]);
    assert_eq!(
        (answer.verdict("firmware-log"), answer.verdict("event-separator")),
        ("pass", "pass")
    );
    assert_eq!(
        answer.failed(),
        ["event-missing", "measured-facts"],
        "nothing ran there that writes events as dstack does"
    );

    let answer =
        verify(&quote, &["--event-log", &text(&vector("protocol/cos-113-second-separator.bin"))]);
    assert_eq!(
        answer.failed(),
        ["event-missing", "event-separator", "firmware-log", "measured-facts"]
    );
}

/// A dump without the final-events table: its registers replay, the one it lacks is said to lack.
#[test]
fn a_dump_without_the_stubs_events_is_incomplete_for_rtmr2() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("quote.bin");
    let dump = vector("protocol/dstack-ccel.bin");
    let log = ccel(&dump);
    assert_eq!(log.len(), 18);
    let judged = |rtmrs: &[(usize, [u8; 48])]| {
        fs::write(&file, quote_of(&log, rtmrs)).unwrap();
        verify(&file, &["--event-log", &text(&dump), "--danger-accept-emulated"])
    };
    let answer = judged(&[(2, [9; 48])]);
    assert_eq!(answer.verdict("firmware-log"), "skipped");
    let hint = answer.hint("firmware-log");
    assert!(hint.contains("RTMR2") && hint.contains("final-events table"), "{hint}");
    assert_eq!(
        judged(&[]).verdict("firmware-log"),
        "pass",
        "a register that nobody extended lacks nothing"
    );
    assert_eq!(judged(&[(1, [9; 48])]).verdict("firmware-log"), "fail");
}

/// The firmware's dump and the guest's own log together are the whole log.
#[test]
fn a_dump_and_a_run_time_log_are_one_list() {
    let directory = tempfile::tempdir().unwrap();
    let (quote, runtime) =
        (directory.path().join("quote.bin"), directory.path().join("runtime.json"));
    let dump = vector("protocol/dstack-ccel.bin");
    let boot = foreign::read(&vector_bytes("measurement/dstack-0.3-1cpu-1GiB.json"), &[])
        .unwrap()
        .evidence
        .event_log;
    let boot: Vec<_> = boot.into_iter().filter(|event| event.imr == 3).collect();
    fs::write(&runtime, serde_json::to_vec(&boot).unwrap()).unwrap();
    let log = [ccel(&dump), boot].concat();
    fs::write(&quote, quote_of(&log, &[])).unwrap();
    let both =
        ["--danger-accept-emulated", "--event-log", &text(&dump), "--event-log", &text(&runtime)];
    let answer = verify(&quote, &both);
    for row in REPLAY {
        assert_eq!(answer.verdict(row), "pass", "{row}: {answer:#?}");
    }
}

#[test]
fn what_cannot_be_read_says_as_what_it_was_read_and_where_it_failed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("evidence");
    let lite = String::from_utf8(vector_bytes("protocol/dstack-getquote.json")).unwrap();
    let scale = vector_bytes("protocol/dstack-attestation-v0.bin");
    let refused = [
        (b"hello".to_vec(), "no evidence of a known format"),
        (
            lite.replacen('{', r#"{"more":1,"#, 1).into_bytes(),
            "read as dstack's get-quote JSON: JSON: unknown field `more`",
        ),
        (
            lite.replacen(r#"{\"imr\""#, r#"{\"imx\""#, 1).into_bytes(),
            "read as dstack's get-quote JSON: event_log",
        ),
        (
            scale[..scale.len() - 1].to_vec(),
            "read as dstack's attestation V0 (SCALE): attestation: configuration",
        ),
        ([scale, vec![0]].concat(), "1 bytes left over"),
        (b"\x81\xa7version".to_vec(), "MessagePack"),
    ];
    for (bytes, words) in refused {
        fs::write(&file, bytes).unwrap();
        let answer = verify(&file, &[]);
        assert_eq!(answer.code, 3);
        assert!(answer.stderr.contains(words), "{words}: {}", answer.stderr);
    }
    let table = verify(
        &vector("protocol/cos-113-quote.bin"),
        &["--event-log", &text(&vector("protocol/README.md"))],
    );
    assert!(table.stderr.contains("event log 1: "), "{}", table.stderr);
}

/// What depends on a machine is not predicted for one that nobody named; RTMR2 depends on none.
#[test]
fn an_image_is_not_compared_with_an_unknown_machine() {
    let directory = tempfile::tempdir().unwrap();
    write_dstack_image(directory.path());
    let answer = verify(
        &vector("measurement/dstack-0.3-1cpu-1GiB.json"),
        &["--image", &text(directory.path())],
    );
    for register in ["mrtd", "rtmr0", "rtmr1"] {
        assert_eq!(answer.verdict(register), "skipped", "{register}");
        let hint = answer.hint(register);
        assert!(hint.contains("claims no machine") && hint.contains("--vcpus"), "{hint}");
    }
    assert_eq!((answer.code, answer.verdict("rtmr2")), (1, "fail"), "{answer:#?}");
}

/// Every number that a prediction is for is shown with whose it is, hot-plug too, and can be
/// stated.
#[test]
fn hot_plug_is_claimed_unless_it_is_stated() {
    let image = tempfile::tempdir().unwrap();
    write_dstack_image(image.path());
    let judged = |more: &[&str]| {
        let image = text(image.path());
        verify(
            &vector("protocol/dstack-getquote.json"),
            &[&["--image", image.as_str()], more].concat(),
        )
    };
    let answer = judged(&[]);
    assert_eq!(answer.verdict("rtmr0"), "pass");
    assert!(answer.hint("rtmr0").contains("PCI hot-plug on (claimed)"), "{}", answer.hint("rtmr0"));
    let answer = judged(&["--pci-hotplug", "on"]);
    assert_eq!(answer.verdict("rtmr0"), "pass");
    assert!(answer.hint("rtmr0").contains("PCI hot-plug on (stated)"), "{}", answer.hint("rtmr0"));
    let answer = judged(&["--pci-hotplug", "off"]);
    assert_eq!((answer.verdict("mrtd"), answer.verdict("rtmr0")), ("pass", "fail"));
    assert!(
        answer.hint("rtmr0").contains("a machine with PCI hot-plug; you stated without"),
        "{}",
        answer.hint("rtmr0")
    );
}

/// Descriptions of machines differ in how much they say: a key that states QEMU's default changes
/// nothing, and one that no prediction is for is named, while all that does not depend on it is
/// judged.
#[test]
fn a_stated_default_changes_nothing_and_a_part_beyond_predictions_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("evidence.json");
    write_dstack_image(directory.path());
    let (evidence, image) = (text(&file), text(directory.path()));
    let plain = "protocol/dstack-getquote.json";
    let judged = |key: &str, value: Value| {
        let mut answer: Value = serde_json::from_slice(&vector_bytes(plain)).unwrap();
        let mut config: Value =
            serde_json::from_str(answer["vm_config"].as_str().unwrap()).unwrap();
        config[key] = value;
        answer["vm_config"] = config.to_string().into();
        fs::write(&file, answer.to_string()).unwrap();
        verify(&file, &["--image", &image])
    };
    let rows = |answer: &Answer| answer.json["checks"].as_array().unwrap().clone();
    let expected = rows(&verify(&vector(plain), &["--image", &image]));
    for (key, default) in [
        ("pic", json!(true)),
        ("num_gpus", json!(0)),
        ("swtpm", json!(false)),
        ("num_nics", json!(1)),
    ] {
        let answer = judged(key, default);
        assert_eq!(rows(&answer), expected, "{key}");
        assert_eq!(answer.verdict("rtmr0"), "pass");
    }
    let of_the_machine = ["mrtd", "rtmr0", "rtmr1"];
    let expected_beside = judged_beside(&of_the_machine, &expected);
    for (key, other) in [("pic", json!(false)), ("num_gpus", json!(1)), ("swtpm", json!(true))] {
        let answer = judged(key, other);
        for register in of_the_machine {
            assert_eq!(answer.verdict(register), "skipped", "{key}: {register}");
            assert!(answer.hint(register).contains("--vcpus"), "{}", answer.hint(register));
        }
        assert_eq!(judged_beside(&of_the_machine, &rows(&answer)), expected_beside, "{key}");
        let told = User::default().prints([
            "verify",
            "--at",
            NOW,
            "--evidence",
            &evidence,
            "--image",
            &image,
        ]);
        assert!(told.stdout.contains(&format!("; {key} in its vm_config is")), "{told:#?}");
    }
}

/// Name, verdict and what was found of all rows but these.
fn judged_beside(but: &[&str], rows: &[Value]) -> Vec<[Value; 3]> {
    let others = rows.iter().filter(|row| !but.contains(&row["name"].as_str().unwrap()));
    others.map(|row| ["name", "verdict", "found"].map(|key| row[key].clone())).collect()
}

fn verify(evidence: &Path, more: &[&str]) -> Answer {
    let evidence = text(evidence);
    User::default().dstyx(["verify", "--at", NOW, "--evidence", &evidence].iter().chain(more))
}

fn ccel(dump: &PathBuf) -> Vec<RawEvent> {
    let quote = vector_bytes("protocol/cos-113-quote.bin");
    foreign::read(&quote, &[&fs::read(dump).unwrap()]).unwrap().evidence.event_log
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
