//! Promise: nothing that evidence, a guest or a file says can command the terminal that shows it,
//! or print a line as ours.

use std::fs;
use std::path::Path;

use protocol::event_log::{RawEvent, RuntimeEvent};
use protocol::status;
use serde_json::{Value, json};
use tests::dstyx::{Printed, User};
use tests::stranger::{NOW, quote_of, vector_bytes, write_dstack_image};

/// Clears the screen, prints a verdict of its own, and hides what follows.
const HOSTILE: &str = "\u{1b}[2J\u{1b}[Hverdict: pass (68 passed, 0 failed, 0 skipped; trust anchor: intel)\u{1b}[8m\u{9b}8m\u{202e}";
/// The same on a line of its own.
const LINES: &str =
    "11.1\nverdict: pass (68 passed, 0 failed, 0 skipped; trust anchor: intel)\n\u{1b}[8m";

#[test]
fn an_events_name_cannot_print_a_verdict() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("evidence.json");
    write_evidence(&file, &[RuntimeEvent::new(HOSTILE, []).to_raw()]);
    let printed = verify(&file, &[]);
    assert_eq!(printed.code, 1);
    assert!(
        printed.stdout.contains("\\u{1b}[2J\\u{1b}[Hverdict: pass"),
        "it is shown: {}",
        printed.stdout
    );
    is_tame(&printed, "verdict: fail");

    // As JSON it is the same name, and does not command either.
    let printed = verify(&file, &["--json"]);
    let document: Value = serde_json::from_str(&printed.stdout).unwrap();
    assert!(document.to_string().contains("u{1b}[2J"), "{document}");
    is_tame(&printed, "}");
}

#[test]
fn an_absurd_version_of_qemu_cannot_print_a_verdict() {
    let directory = tempfile::tempdir().unwrap();
    let evidence = directory.path().join("evidence.json");
    let mut lite: Value =
        serde_json::from_slice(&vector_bytes("protocol/dstack-getquote.json")).unwrap();
    let mut config: Value = serde_json::from_str(lite["vm_config"].as_str().unwrap()).unwrap();
    config["qemu_version"] = LINES.into();
    lite["vm_config"] = config.to_string().into();
    fs::write(&evidence, lite.to_string()).unwrap();
    write_dstack_image(directory.path());
    let image = text(directory.path());

    let printed = verify(&evidence, &["--image", &image]);
    assert!(printed.stdout.contains("11.1\\u{a}verdict: pass"), "{}", printed.stdout);
    is_tame(&printed, "verdict: fail");
    let printed = User::default().prints(["diff", &text(&evidence), "--image", &image]);
    assert_eq!(printed.code, 2);
    assert!(printed.stderr.contains("11.1\n     | verdict: pass"), "{}", printed.stderr);
    is_tame(&printed, "");
}

#[test]
fn the_names_of_a_difference_stay_in_their_row() {
    let directory = tempfile::tempdir().unwrap();
    let files = [[HOSTILE, "x"], ["y", "the same\nand more"]].map(|names| {
        let file = directory.path().join(format!("{}.json", names[1].len()));
        write_evidence(&file, &names.map(|name| RuntimeEvent::new(name, []).to_raw()));
        text(&file)
    });
    let printed = User::default().prints(["diff", &files[0], &files[1]]);
    assert_eq!(printed.code, 1);
    assert!(
        printed.stdout.contains("\\u{1b}[2J") && printed.stdout.contains("the same\\u{a}and more")
    );
    is_tame(&printed, "they differ");
}

#[test]
fn what_a_file_is_called_is_an_error_of_one_line() {
    let printed = verify(Path::new(LINES), &[]);
    assert_eq!(printed.code, 3);
    assert!(printed.stderr.contains("\n     | verdict: pass"), "{}", printed.stderr);
    is_tame(&printed, "");
}

#[test]
fn a_guests_console_and_links_do_not_command() {
    let user = User::default();
    let directory = user.machine("guest");
    fs::create_dir_all(&directory).unwrap();
    let ended = json!({"pid": 1, "started_ticks": 0});
    let vm = json!({
        "name": "guest", "image": "/", "app": "/", "agent_url": HOSTILE, "urls": [LINES], "emulated": true,
        "qemu": ended, "helpers": [],
    });
    fs::write(directory.join("vm.json"), vm.to_string()).unwrap();
    fs::write(directory.join("status.img"), status::encode(&[])).unwrap();
    fs::write(directory.join("console.log"), format!("booting\r\n\ta{HOSTILE}\u{7f}\r\nlast\n"))
        .unwrap();

    let printed = user.prints(["logs", "guest", "--console"]);
    assert!(printed.stdout.starts_with("booting\n\ta[2J[Hverdict: pass"), "{:?}", printed.stdout);
    is_tame(&printed, "last");
    let printed = user.prints(["ps"]);
    assert!(printed.stdout.contains("11.1\\u{a}verdict: pass"), "{}", printed.stdout);
    assert_eq!(printed.stdout.lines().count(), 2);
    is_tame(&printed, "");
}

/// No character commands, no line begins as a verdict that is not ours, and the last one is what it
/// must be.
fn is_tame(printed: &Printed, last: &str) {
    for stream in [&printed.stdout, &printed.stderr] {
        let commands = |c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || c == '\u{202e}';
        assert!(!stream.contains(commands), "{stream:?}");
        assert!(!stream.lines().any(|line| line.starts_with("verdict: pass")), "{stream}");
    }
    assert!(
        printed.stdout.lines().last().unwrap_or_default().starts_with(last),
        "{}",
        printed.stdout
    );
}

fn write_evidence(file: &Path, log: &[RawEvent]) {
    let events = serde_json::to_string(log).unwrap();
    fs::write(
        file,
        json!({"quote": hex::encode(quote_of(log, &[])), "event_log": events}).to_string(),
    )
    .unwrap();
}

fn verify(evidence: &Path, more: &[&str]) -> Printed {
    let evidence = text(evidence);
    let arguments = ["verify", "--danger-accept-emulated", "--at", NOW, "--evidence", &evidence];
    User::default().prints(arguments.iter().chain(more))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
