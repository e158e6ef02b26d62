//! The account and the certificates' keys with their quotes, as dstack's gateway shows them at
//! `/.dstack/acme-info` (`AcmeInfoResponse`). The published evidence says more.

use gateway_domain::published::{Entry, Subject};
use protocol::foreign::{self, scale};
use protocol::prpc::{self, Encoding, GetQuoteResponse};
use serde_json::{Value, json};

/// The document of an account, with the keys of all certificates that it ordered, in order.
pub fn acme_info(account: &Entry, leaves: &[Entry]) -> Vec<u8> {
    let Subject::Account(subject) = &account.subject else { return Vec::new() };
    let keys: Vec<Value> = leaves.iter().filter_map(key).collect();
    let (quote, attestation) = texts(account);
    let document = json!({
        "account_uri": subject.uri(),
        "quoted_hist_keys": keys,
        "account_quote": quote,
        "account_attestation": attestation,
    });
    document.to_string().into_bytes()
}

fn key(leaf: &Entry) -> Option<Value> {
    let Subject::Leaf(subject) = &leaf.subject else { return None };
    let (quote, attestation) = texts(leaf);
    let public_key = hex::encode(subject.spki());
    Some(json!({ "public_key": public_key, "quote": quote, "attestation": attestation }))
}

/// The quote as dstack's agent answers `GetQuote`, and the attestation in hex.
fn texts(entry: &Entry) -> (String, String) {
    let (evidence, report_data) = (&entry.evidence, entry.subject.report_data());
    let vm_config = foreign::vm_config(&evidence.claims);
    let (quote, log) = (&evidence.quote, &evidence.event_log);
    let attestation = scale::encode(quote, log, &report_data, &vm_config);
    let answer = GetQuoteResponse {
        quote: quote.clone(),
        event_log: serde_json::to_string(log).expect("texts and numbers serialise"),
        report_data: report_data.0.to_vec(),
        vm_config,
    };
    let answer = String::from_utf8(prpc::encode(&answer, Encoding::Json));
    (answer.expect("JSON is UTF-8"), hex::encode(attestation))
}

#[cfg(test)]
mod tests {
    use gateway_domain::account::Account;
    use gateway_domain::published::Leaf;
    use protocol::fixtures::evidence_of;

    use super::*;

    #[test]
    fn a_client_of_dstack_reads_account_and_keys_and_their_quotes() {
        let uri = "https://authority.example/1";
        let account = Account::new("https://authority.example/dir", uri, [1; 32]).unwrap();
        let names = vec!["example.org".parse().unwrap()];
        let leaf = Leaf::new(uri.to_owned(), names, vec![4; 91]).unwrap();
        let entry = |subject: Subject| {
            let (evidence, collateral) = (evidence_of(&[4; 100]), "{}".to_owned());
            Entry { made_secs: 1, subject, evidence, collateral }
        };
        let leaf = entry(Subject::Leaf(leaf));
        let text = acme_info(&entry(Subject::Account(account)), std::slice::from_ref(&leaf));
        let document: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(document["account_uri"], uri);
        let key = &document["quoted_hist_keys"][0];
        assert_eq!(key["public_key"], hex::encode([4; 91]));
        let attestation = hex::decode(key["attestation"].as_str().unwrap()).unwrap();
        let read = foreign::read(&attestation, &[]).unwrap();
        assert_eq!(read.evidence.quote, leaf.evidence.quote);
        let report_data = leaf.subject.report_data().0.to_vec();
        assert_eq!(read.stated_report_data, Some(report_data));
        let quote: GetQuoteResponse = serde_json::from_str(key["quote"].as_str().unwrap()).unwrap();
        assert_eq!(quote.quote, leaf.evidence.quote);
    }
}
