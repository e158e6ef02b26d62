//! The interface of a provider, as a server of the test answers it.

use std::sync::{Arc, Mutex};

use ::tests::https::{Asked, Local, Reply};

use super::*;
use crate::fixtures::{name, trust};

const TOKEN: &str = "a-token";

/// The interface as far as it is used here: records with ids, a token that is asked for.
fn answer(records: &Mutex<Vec<Value>>, asked: &Asked) -> Reply {
    if !asked.head.contains(&format!("Bearer {TOKEN}\r\n")) {
        let refusal = json!({ "success": false, "errors": [{ "code": 10000, "message": "Authentication error" }], "result": null });
        return (403, String::new(), refusal.to_string().into_bytes());
    }
    let mut records = records.lock().unwrap();
    let path = asked.path.strip_prefix("/client/v4/zones/abc123/dns_records").unwrap();
    let result = match asked.method.as_str() {
        "POST" => {
            let mut record: Value = serde_json::from_slice(&asked.body).unwrap();
            record["id"] = json!(format!("id{}", records.len()));
            records.push(record.clone());
            record
        }
        "DELETE" => {
            let id = path.trim_start_matches('/');
            records.retain(|record| record["id"] != id);
            json!({ "id": id })
        }
        _ => {
            let found = records.iter().filter(|record| {
                let kind = record["type"].as_str().unwrap();
                let name = record["name"].as_str().unwrap();
                path.starts_with(&format!("?type={kind}&name={name}&"))
            });
            found.cloned().collect()
        }
    };
    let envelope = json!({ "success": true, "errors": [], "messages": [], "result": result });
    (200, String::new(), envelope.to_string().into_bytes())
}

fn zone(local: &Local, records: &Arc<Mutex<Vec<Value>>>, token: &str) -> Cloudflare {
    let records = Arc::clone(records);
    let address = local.serve(move |asked| answer(&records, asked));
    let api = format!("https://{address}/client/v4");
    let token = Zeroizing::new(token.to_owned());
    Cloudflare::new(&api, "abc123", token, &trust(local)).unwrap()
}

#[test]
fn records_are_added_found_and_removed_one_by_one() {
    let foreign = json!({ "id": "f", "type": "CAA", "name": "example.org",
        "content": "0 issue \"other.example\"",
        "data": { "flags": 0, "tag": "issue", "value": "other.example" } });
    let (local, records) = (Local::new(), Arc::new(Mutex::new(vec![foreign])));
    let (zone, base) = (zone(&local, &records, TOKEN), name("example.org"));
    let ours =
        Caa::new(0, "issuewild", b"authority.example; accounturi=https://a.example/1").unwrap();
    zone.add_caa(&base, &ours).unwrap();
    assert_eq!(zone.caa(&base).unwrap().len(), 2);
    zone.remove_caa(&base, &ours).unwrap();
    zone.remove_caa(&base, &ours).unwrap();
    assert_eq!(zone.caa(&base).unwrap(), [Caa::new(0, "issue", b"other.example").unwrap()]);
    let challenge = name("_acme-challenge.example.org");
    zone.add_text(&challenge, "one").unwrap();
    zone.add_text(&challenge, "two").unwrap();
    zone.remove_text(&challenge, "one").unwrap();
    let left = records.lock().unwrap();
    assert_eq!(left.last().unwrap()["content"], "\"two\"");
}

#[test]
fn a_refusal_is_told_and_shows_no_token() {
    let (local, records) = (Local::new(), Arc::new(Mutex::new(Vec::new())));
    let error = zone(&local, &records, "secret-word").caa(&name("example.org")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the provider refuses: status 403 Forbidden: Authentication error"
    );
    assert!(!format!("{error:?}").contains("secret-word"));
    let zone = Cloudflare::new(API, "../x", Zeroizing::new(String::new()), &trust(&local));
    assert!(matches!(zone, Err(ProviderError::Form(_))));
}
