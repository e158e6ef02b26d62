//! What an aggregator of logs answers about a name, in the form of crt.sh's JSON interface.

use gateway_domain::certificate::{Certificate, parse_chain};
use gateway_domain::name::DomainName;
use protocol::strict_json::{self, JsonError};
use serde::Deserialize;

/// Largest list: a thousand certificates with about 500 bytes each, ten times over.
pub const MAX_LIST_BYTES: usize = 8 << 20;
/// Most certificates that are fetched.
pub const MAX_CERTIFICATES: usize = 2000;

/// Why a list cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// another JSON
    #[error(transparent)]
    Json(#[from] JsonError),
    /// more than are fetched
    #[error("{0} certificates, at most {MAX_CERTIFICATES} are looked at")]
    Many(usize),
}

/// The questions about a name: itself, and wildcards that cover it.
pub fn queries(name: &DomainName) -> Vec<String> {
    let wildcard = name.parent().map(|parent| format!("*.{parent}"));
    let names = std::iter::once(name.to_string()).chain(wildcard);
    names.map(|name| format!("?q={}&output=json", name.replace('*', "%2A"))).collect()
}

/// The question for one certificate.
pub fn certificate_query(id: u64) -> String {
    format!("?d={id}")
}

/// The numbers of the certificates in a list, each once. Everything else in it is the aggregator's
/// word and is read from the certificates themselves.
///
/// # Errors
/// If it is of another form, or too long.
pub fn parse_list(answer: &[u8]) -> Result<Vec<u64>, ListError> {
    #[derive(Deserialize)]
    struct Item {
        id: u64,
    }

    let items: Vec<Item> = strict_json::parse(answer, MAX_LIST_BYTES)?;
    let mut ids: Vec<u64> = items.into_iter().map(|item| item.id).collect();
    ids.sort_unstable();
    ids.dedup();
    match ids.len() {
        0..=MAX_CERTIFICATES => Ok(ids),
        found => Err(ListError::Many(found)),
    }
}

/// A certificate as the aggregator gives it.
///
/// # Errors
/// If it is none.
pub fn parse_certificate(pem: &[u8]) -> Result<Certificate, String> {
    let chain = parse_chain(pem).map_err(|error| error.to_string())?;
    Certificate::parse(&chain[0]).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_asked_for_with_the_wildcard_that_covers_it() {
        let queries = queries(&"a.example.org".parse().unwrap());
        assert_eq!(queries, ["?q=a.example.org&output=json", "?q=%2A.example.org&output=json"]);
    }

    #[test]
    fn a_list_gives_each_number_once_and_no_more_than_are_fetched() {
        let list = br#"[{"id":7,"name_value":"a"},{"id":3},{"id":7}]"#;
        assert_eq!(parse_list(list), Ok(vec![3, 7]));
        assert_eq!(parse_list(b"[]"), Ok(vec![]));
        assert!(matches!(parse_list(b"<html>"), Err(ListError::Json(_))));
        let many: Vec<String> = (0..2001).map(|id| format!(r#"{{"id":{id}}}"#)).collect();
        let many = format!("[{}]", many.join(","));
        assert_eq!(parse_list(many.as_bytes()), Err(ListError::Many(2001)));
    }
}
