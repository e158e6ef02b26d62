//! Promise: the verdict's page says what the verdict says, and nothing in the evidence can make it
//! say or do anything else.

use std::fs;

use base64::Engine as _;
use protocol::digest::ComposeHash;
use protocol::event_log::{RawEvent, RuntimeEvent};
use protocol::evidence::Evidence;
use protocol::launch::LaunchClaims;
use protocol::shape::Shape;
use protocol::{app_compose, event_name, foreign};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tests::dstyx::{Answer, User};
use tests::scene::COMPOSE;
use tests::stranger::{NOW, REPORT_DATA, quote_of, vector, write_collateral};

/// Twenty bytes: as long as an app's id.
const HOSTILE_ID: &[u8; 20] = b"<script>x()</script>";
const HOSTILE_NAME: &str = "\"><img src=x onerror=alert(1)><script>alert(1)</script>\u{202e}";

#[test]
fn hostile_texts_stay_texts() {
    let log = [
        RuntimeEvent::new(event_name::SYSTEM_PREPARING, []),
        RuntimeEvent::new(event_name::APP_ID, *HOSTILE_ID),
        RuntimeEvent::new(event_name::COMPOSE_HASH, [b'<'; 32]),
        RuntimeEvent::new(event_name::INSTANCE_ID, []),
        RuntimeEvent::new(event_name::BOOT_MR_DONE, []),
        RuntimeEvent::new(
            event_name::KEY_PROVIDER,
            *br#"{"name":"</code></details></main><script src=//x>","id":""}"#,
        ),
        RuntimeEvent::new(event_name::SYSTEM_READY, []),
        RuntimeEvent::new(HOSTILE_NAME, "\u{202e}<style>*{display:none}</style>"),
    ];
    let (answer, page) = page_of(&log.map(|event| event.to_raw()), &[]);
    assert_eq!(
        (answer.verdict("rtmr3"), answer.verdict("measured-facts")),
        ("pass", "pass"),
        "{answer:#?}"
    );
    assert!(
        page.contains("&lt;script&gt;x()&lt;/script&gt;")
            && page.contains("&lt;img src=x onerror=alert(1)&gt;")
    );
    assert!(page.contains("\\u{202e}") && !page.contains('\u{202e}'));
    is_closed(&page);
}

/// Wherever an error repeats what the evidence says, too.
#[test]
fn hostile_texts_in_errors_stay_texts() {
    let mut event = RuntimeEvent::new(HOSTILE_NAME, []).to_raw();
    event.event_payload = "<script>alert(1)</script>".into();
    let (answer, page) = page_of(&[event], &[]);
    assert_eq!(answer.verdict("event-log"), "fail");
    assert!(page.contains("Refused"));
    is_closed(&page);
}

#[test]
fn the_page_leads_with_the_verdict_and_what_it_is_worth() {
    let (answer, page) = page_of(&[], &[]);
    assert_eq!(answer.code, 1);
    let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("no {text}: {page}"));
    let order = [
        "EMULATED: proves nothing about hardware",
        "verdict: <b>fail</b>",
        ">Why<",
        ">Chain of trust<",
        ">Not checked, and why<",
        ">What this verdict does not say<",
        ">What was judged<",
    ];
    let places = order.map(place);
    assert!(places.is_sorted(), "{places:?}");
    assert!(page.contains(NOW), "the time of the judgement");
    for row in answer.json["checks"].as_array().unwrap() {
        let name = row["name"].as_str().unwrap();
        assert!(page.contains(&format!("<code>{name}</code>")), "{name} is not on the page");
    }
}

#[test]
fn every_input_is_named_with_its_digest() {
    let (answer, page) = page_of(&[], &["--report-data", &hex::encode(REPORT_DATA)]);
    assert_eq!(answer.verdict("report-data"), "pass");
    let evidence = fs::read(&answer.evidence).unwrap();
    assert!(page.contains(&hex::encode(Sha256::digest(evidence))));
    assert!(page.contains(&hex::encode(Sha256::digest(fs::read(&answer.collateral).unwrap()))));
}

#[test]
fn real_evidence_with_open_checks_says_incomplete_and_is_not_emulated() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("report.html").display().to_string();
    let evidence = vector("protocol/dstack-getquote.json").display().to_string();
    let answer =
        User::default().dstyx(["verify", "--at", NOW, "--evidence", &evidence, "--report", &file]);
    let page = fs::read_to_string(file).unwrap();
    assert_eq!(answer.code, 2);
    assert!(page.contains("verdict: <b>incomplete</b>") && !page.contains("EMULATED"));
    assert!(page.contains("No collateral: `dstyx collateral fetch`"));
    is_closed(&page);
}

/// The file is the log's; that the log is the quote's is for a row to say.
#[test]
fn a_compose_file_is_rtmr3s_only_if_the_log_is() {
    let app_compose = app_compose::generate("a", COMPOSE).unwrap();
    let events = [
        RuntimeEvent::new(event_name::SYSTEM_PREPARING, []),
        RuntimeEvent::new(event_name::APP_ID, *HOSTILE_ID),
        RuntimeEvent::new(event_name::COMPOSE_HASH, ComposeHash::of(&app_compose).0),
        RuntimeEvent::new(event_name::INSTANCE_ID, []),
        RuntimeEvent::new(event_name::BOOT_MR_DONE, []),
    ];
    let log = events.map(|event| event.to_raw());
    let page = |rtmrs: &[(usize, [u8; 48])]| {
        let (quote, event_log) = (quote_of(&log, rtmrs), log.to_vec());
        let (nonce, claims, app_compose) =
            ([0; 32], foreign::unclaimed(), Some(app_compose.clone()));
        let claims = LaunchClaims {
            shape: Shape { vcpus: 1, memory_mib: 1024, root_slots: 4, ..claims.shape },
            ..claims
        };
        judged_page(&Evidence { quote, event_log, nonce, claims, app_compose }.to_json(), &[])
    };
    let (answer, shown) = page(&[]);
    assert_eq!(answer.verdict("rtmr3"), "pass", "{answer:#?}");
    assert!(
        shown.contains("is the one in RTMR3") && !shown.contains("not that of the quote"),
        "{shown}"
    );
    let (answer, shown) = page(&[(3, [9; 48])]);
    assert_eq!(answer.verdict("rtmr3"), "fail", "{answer:#?}");
    assert!(shown.contains("docker-compose.yml</h4>"), "{shown}");
    assert!(
        !shown.contains("is the one in RTMR3")
            && shown.contains("in the log, which is not that of the quote")
    );
}

/// Nothing on the page can run, load, or leave it, and its one style is allowed by its digest.
fn is_closed(page: &str) {
    let (before, rest) = page.split_once("<style>").unwrap();
    let (style, after) = rest.split_once("</style>").unwrap();
    let digest = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(style));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    );
    assert!(
        before.contains(&policy.replace('\'', "&#39;")) || before.contains(&policy),
        "{before}"
    );
    assert!(!style.contains("url(") && !style.contains("@import"));
    // A tag is `<` and a letter; everything else of that kind was escaped.
    let tags = |name: &str| {
        [before, after].iter().map(|part| part.matches(&format!("<{name}")).count()).sum::<usize>()
    };
    for name in ["script", "img", "style", "iframe", "object", "form", "a ", "base"] {
        assert_eq!(tags(name), 0, "<{name}");
    }
    for attribute in [" style=\"", " src=\"", " href=\"", " onerror=\"", " onclick=\""] {
        assert!(!page.contains(attribute), "{attribute}");
    }
    assert_eq!(after.matches("<details").count(), after.matches("</details>").count());
    assert!(page.ends_with("</html>"));
}

/// An answer, and the files that it is about.
#[derive(Debug)]
struct Page {
    answer: Answer,
    evidence: std::path::PathBuf,
    collateral: std::path::PathBuf,
    _directory: tempfile::TempDir,
}

impl std::ops::Deref for Page {
    type Target = Answer;

    fn deref(&self) -> &Answer {
        &self.answer
    }
}

/// Evidence in dstack's form with this log, judged under the emulator's root; its answer and its
/// page.
fn page_of(log: &[RawEvent], more: &[&str]) -> (Page, String) {
    let events = serde_json::to_string(log).unwrap();
    let request = json!({"quote": hex::encode(quote_of(log, &[])), "event_log": events});
    judged_page(request.to_string().as_bytes(), more)
}

/// A file of evidence judged under the emulator's root; its answer and its page.
fn judged_page(evidence_json: &[u8], more: &[&str]) -> (Page, String) {
    let directory = tempfile::tempdir().unwrap();
    let [evidence, collateral, report] =
        ["evidence.json", "collateral.json", "report.html"].map(|name| directory.path().join(name));
    fs::write(&evidence, evidence_json).unwrap();
    write_collateral(&collateral);
    let paths = [&evidence, &collateral, &report].map(|path| path.display().to_string());
    let arguments = [
        "verify",
        "--evidence",
        &paths[0],
        "--collateral",
        &paths[1],
        "--report",
        &paths[2],
        "--at",
        NOW,
    ];
    let answer =
        User::default().dstyx(arguments.iter().chain(&["--danger-accept-emulated"]).chain(more));
    let page = fs::read_to_string(&report).unwrap();
    (Page { answer, evidence, collateral, _directory: directory }, page)
}
