//! What dstack's SDKs give inside a container: every public call of the one for Python and the one
//! for JavaScript.

use protocol::digest::{AppId, ComposeHash};
use protocol::quote::Quote;
use serde_json::Value;
use tests::guest::Guest;

use crate::real_app::json_of;

/// Where the programs on the SDKs show what each call gave.
pub const PYTHON: u16 = 8081;
pub const NODE: u16 = 8082;
/// What a call for a key is answered.
const NO_KEYS: &str = "no key provider";

/// Every call of the Python SDK, the ones before version 0.5 included.
pub fn python_calls(guest: &Guest) {
    let calls =
        guest.until("the Python SDK's program does not answer", || json_of(guest, PYTHON, "/"));
    is_this_app(guest, &calls["info"]["ok"]);
    is_this_app(guest, &calls["legacy info"]["ok"]);
    quotes(&calls["quote"], &padded(b"python"));
    quotes(&calls["quote after the event"], &padded(b"python"));
    // The legacy client pads on the left, and its hash is of more than the data.
    quotes(&calls["legacy quote"], &[vec![0; 58], b"python".to_vec()].concat());
    assert!(
        calls["legacy hashed quote"]["ok"]["quote"].is_string(),
        "{}",
        calls["legacy hashed quote"]
    );
    logs(&calls["quote after the event"]["ok"], "sdk-python", b"said by python");
    assert!(!calls["quote"]["ok"]["event_log"].as_str().unwrap().contains("sdk-python"));
    assert_eq!(calls["reachable"]["ok"], true, "{calls}");
    assert_eq!(calls["async info"]["ok"], calls["info"]["ok"]["app_id"]);
    assert!(calls["version"]["ok"]["version"].is_string(), "{}", calls["version"]);
    assert!(calls["attest"]["ok"]["attestation"].is_string(), "{}", calls["attest"]);
    assert!(
        calls["event"]["ok"].is_null() && calls["event"].get("ok").is_some(),
        "{}",
        calls["event"]
    );
    let refused = &calls["event of the boot"];
    assert!(
        refused["status"].as_u64() >= Some(400),
        "system-ready can be said by an app: {refused}"
    );
    for call in ["key", "tls key", "sign", "legacy key"] {
        let refused = calls[call]["refused"].as_str().unwrap_or_default();
        assert!(refused.contains(NO_KEYS), "{call}: {}", calls[call]);
    }
}

/// Every call of the JavaScript SDK, which gives no reason for what was refused but in its legacy
/// client.
pub fn node_calls(guest: &Guest) {
    let calls =
        guest.until("the JavaScript SDK's program does not answer", || json_of(guest, NODE, "/"));
    is_this_app(guest, &calls["info"]["ok"]);
    is_this_app(guest, &calls["legacy info"]["ok"]);
    quotes(&calls["quote"], &padded(b"node"));
    quotes(&calls["legacy quote"], &[vec![0; 60], b"node".to_vec()].concat());
    logs(&calls["quote after the event"]["ok"], "sdk-node", b"said by node");
    assert!(calls["version"]["ok"]["version"].is_string(), "{}", calls["version"]);
    assert!(calls["attest"]["ok"]["attestation"].is_string(), "{}", calls["attest"]);
    assert!(calls["reachable"]["ok"].is_boolean(), "{}", calls["reachable"]);
    for call in ["key", "sign"] {
        assert!(calls[call]["failed"].is_string(), "{call}: {}", calls[call]);
    }
    for call in ["tls key", "legacy key"] {
        let refused = calls[call]["ok"]["error"].as_str().unwrap_or_default();
        assert!(refused.contains(NO_KEYS), "{call}: {}", calls[call]);
    }
}

/// What an SDK's `info` must say of the guest that was started.
fn is_this_app(guest: &Guest, info: &Value) {
    let hash = ComposeHash::of(&guest.app_compose);
    assert_eq!(info["app_id"], AppId::from_compose_hash(&hash).to_string(), "{info}");
    assert_eq!(info["compose_hash"], hash.to_string());
    assert_eq!(
        info["tcb_info"]["app_compose"].as_str().map(str::as_bytes),
        Some(guest.app_compose.as_slice())
    );
    assert!(info["key_provider_info"].as_str().unwrap().contains("none"), "{info}");
}

/// The quote is over this report data, and the SDK's own replay of the log that came with it gives
/// its RTMR3.
fn quotes(call: &Value, report_data: &[u8]) {
    let answer = &call["ok"];
    let quote = answer["quote"].as_str().unwrap_or_else(|| panic!("no quote: {call}"));
    let report =
        Quote::parse_padded(&hex::decode(quote.trim_start_matches("0x")).unwrap()).unwrap().report;
    assert_eq!(report.report_data.0, report_data, "{}", report.report_data);
    let replayed = answer["replayed"].get("3").or_else(|| answer["replayed"].get(3)).unwrap();
    assert_eq!(*replayed, report.rtmrs[3].to_string());
}

fn logs(answer: &Value, name: &str, payload: &[u8]) {
    let log: Value = serde_json::from_str(answer["event_log"].as_str().unwrap()).unwrap();
    let event = log.as_array().unwrap().iter().find(|event| event["event"] == name);
    assert_eq!(event.unwrap()["event_payload"], hex::encode(payload));
}

/// As far as a quote's report data goes, filled with zeros.
fn padded(data: &[u8]) -> Vec<u8> {
    let mut padded = data.to_vec();
    padded.resize(64, 0);
    padded
}
