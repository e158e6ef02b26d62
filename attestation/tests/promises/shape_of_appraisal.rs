//! The appraisal's JSON is an interface: exactly these keys.

use attestation::judge;
use serde_json::Value;

use crate::forge::{Forge, NOW};

#[test]
fn the_appraisal_has_exactly_the_documented_keys() {
    let forge = Forge::honest();
    let appraisal = judge(&forge.evidence(), &forge.policy(), Some(&forge.collateral()), NOW);
    let json: Value = serde_json::to_value(&appraisal).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let sorted = |mut keys: Vec<String>| {
        keys.sort();
        keys
    };
    assert_eq!(sorted(keys(&json)), ["checks", "facts", "trust_anchor", "verdict"]);
    assert_eq!((&json["verdict"], &json["trust_anchor"]), (&"pass".into(), &"emulated".into()));
    for row in json["checks"].as_array().unwrap() {
        assert_eq!(sorted(keys(row)), ["expected", "found", "hint", "name", "verdict"]);
        assert_eq!(row["verdict"], "pass", "{row}");
    }
    for fact in [
        "mrtd",
        "rtmr0",
        "rtmr1",
        "rtmr2",
        "rtmr3",
        "mrconfigid",
        "report_data",
        "compose_hash",
        "app_id",
    ] {
        assert!(json["facts"][fact].as_str().is_some_and(|text| text.len() >= 40), "{fact}");
    }
    assert_eq!(json["facts"]["tcb_status"], "UpToDate");
    assert_eq!(json["facts"]["fmspc"], "505050505050");
    assert_eq!(json["facts"]["key_provider"], r#"{"name":"none","id":""}"#);
}
