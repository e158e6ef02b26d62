//! The file of the repository, and files that are wrong in one place.

use serde_json::{Value, json};

use super::*;

const EXAMPLE: &str = include_str!("../../../deploy/gateway.example.json");

fn example() -> Value {
    serde_json::from_str(EXAMPLE).unwrap()
}

fn parse(value: &Value) -> Result<Config, ConfigError> {
    Config::parse(&serde_json::to_vec(value).unwrap())
}

#[test]
fn the_example_is_whole() {
    let config = parse(&example()).unwrap();
    assert_eq!(config.bases[0].name.as_str(), "apps.example.org");
    assert!(config.admin.is_some() && config.resolvers.is_some());
    assert_eq!(config.data, Path::new("/data"));
    assert_eq!(config.connections, None);
}

#[test]
fn what_is_missing_unknown_or_does_not_fit_together_is_refused() {
    let local = json!([{ "name": "apps.example", "danger_local_ca": true }]);
    let rows: [(&str, Value, &str); 18] = [
        ("/base_domains", json!([]), "0 names"),
        ("/base_domains", json!([{ "name": "apps.example" }]), "no authority"),
        ("/base_domains/0/danger_local_ca", json!(true), "two authorities"),
        ("/base_domains/0/name", json!("apps"), "one label"),
        ("/base_domains/0/name", json!("a_b.example"), "a_b.example"),
        ("/base_domains/0/acme/directory", json!("http://a/dir"), "no https://"),
        ("/base_domains/0/acme/zone", json!({ "own": { "other": {} } }), "unknown variant"),
        ("/resolvers", json!(["https://1.1.1.1/dns-query"]), "two addresses"),
        ("/resolvers", json!(["https://a/", "https://a/"]), "two addresses"),
        ("/roots", json!(["no PEM"]), "roots"),
        ("/connections", json!(0), "0, expected 1"),
        ("/admin", Value::Null, "no owners"),
        ("/admin/threshold", json!(0), "threshold"),
        ("/admin/owners", json!(["01"]), "expected 64"),
        ("/listen/admin", Value::Null, "no port"),
        ("/guests", Value::Null, "which may dial"),
        ("/listen/guests", Value::Null, "no port for them"),
        ("/no_attestation", json!(true), "unknown field"),
    ];
    for (place, value, expected) in rows {
        let mut document = example();
        let (parent, key) = place.rsplit_once('/').unwrap();
        document.pointer_mut(parent).unwrap()[key] = value;
        let error = parse(&document).unwrap_err();
        assert!(error.to_string().contains(expected), "{place}: {error}");
        assert!(!error.hint().is_empty());
    }
    let mut twice = example();
    twice["base_domains"] = json!([local[0], local[0]]);
    assert!(parse(&twice).unwrap_err().to_string().contains("twice"));
}

#[test]
fn secrets_are_named_and_a_missing_one_is_told_by_its_name() {
    let none = |_: &str| None;
    assert!(matches!(secret("TOKEN", none), Err(ConfigError::NoSecret(name)) if name == "TOKEN"));
    let empty = |_: &str| Some(String::new());
    assert!(matches!(secret("TOKEN", empty), Err(ConfigError::NoSecret(_))));
    let long = |_: &str| Some("a".repeat(MAX_SECRET_BYTES + 1));
    let error = secret("TOKEN", long).unwrap_err().to_string();
    assert!(error.contains("TOKEN") && !error.contains("aaa"), "{error}");
    assert!(decoded("KEY", "not base64!").unwrap_err().to_string().contains("KEY"));
    assert_eq!(*decoded("KEY", "WlpaWg==").unwrap(), *b"ZZZZ");
}
