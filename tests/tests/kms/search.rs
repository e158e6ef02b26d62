//! Key material looked for from inside the guest: by a container with nothing but the default, and
//! by a privileged one that reads what any program of the guest could.
//!
//! Each finds what was planted for it, or its search would prove nothing.

use serde_json::Value;
use tests::dstyx::Answer;
use tests::http;

/// What every searching container wrote to a file of its own.
const PLANTED: &[u8] = b"a-marker-for-anybody";

/// Neither the sealed variable nor a key of the app can be read by a program that did not get it.
pub fn finds_nothing(up: &Answer, secret: &str, key: &str) {
    let raw = hex::decode(key).unwrap();
    let markers = [secret.as_bytes(), key.as_bytes(), &raw];
    let confined = found(up, "confined", &markers);
    for place in ["files", "arguments", "environments"] {
        assert_eq!(confined[place], Value::Array(Vec::new()), "{place}: {confined}");
    }
    let everywhere = found(up, "everywhere", &markers);
    for place in ["files", "arguments"] {
        assert_eq!(everywhere[place], Value::Array(Vec::new()), "{place}: {everywhere}");
    }
    // The control: the variable is where it belongs, in its own container, and found there.
    let owners = everywhere["environments"].as_array().unwrap();
    let sealed = |group: &Value| group.as_str().is_some_and(|group| group.contains("sealed"));
    assert!(!owners.is_empty() && owners.iter().all(sealed), "{everywhere}");
    assert!(everywhere["log"].as_u64() > Some(0), "the kernel's log is not read: {everywhere}");
    assert_eq!(everywhere["in_log"], false, "{everywhere}");
    for report in [&confined, &everywhere] {
        assert_eq!((&report["core"], &report["core_pattern"]), (&false.into(), &false.into()));
    }
}

/// What a searching container finds; it must find what is planted.
fn found(up: &Answer, name: &str, markers: &[&[u8]]) -> Value {
    let address = up.addresses().find(|address| {
        http::get(*address, "/").is_ok_and(|body| body == format!("search {name}").as_bytes())
    });
    let address = address.unwrap_or_else(|| panic!("{name} does not answer: {up:#?}"));
    let report = |markers: &[&[u8]]| -> Value {
        let backwards =
            |marker: &&[u8]| hex::encode(marker.iter().rev().copied().collect::<Vec<_>>());
        let markers: Vec<_> = markers.iter().map(backwards).collect();
        let answer = http::get(address, &format!("/find?{}", markers.join("&"))).unwrap();
        serde_json::from_slice(&answer).unwrap()
    };
    let planted = report(&[PLANTED]);
    assert_ne!(planted["files"], Value::Array(Vec::new()), "{name} finds nothing: {planted}");
    report(markers)
}
