//! What a service answers, taken apart: documents that keep their signed bytes, revocation lists,
//! and issuer chains in headers.

use serde::Deserialize;
use serde_json::value::RawValue;
use ureq::http::HeaderMap;

use crate::error::ServiceError;

/// An answer with what is needed of its headers.
pub(crate) struct Answer {
    pub(crate) url: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// `tcb`: the text of `tcbInfo` is what is signed, so it is kept as it came.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TcbInfoAnswer<'a> {
    #[serde(rename = "tcbInfo", borrow)]
    pub(crate) document: &'a RawValue,
    pub(crate) signature: String,
}

/// `qe/identity`, likewise.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QeIdentityAnswer<'a> {
    #[serde(rename = "enclaveIdentity", borrow)]
    pub(crate) document: &'a RawValue,
    pub(crate) signature: String,
}

impl Answer {
    pub(crate) fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, ServiceError> {
        serde_json::from_slice(&self.body).map_err(|error| self.wrong(error))
    }

    /// DER, or hex of it, which is how caches of Intel's service hand lists on.
    pub(crate) fn list(&self) -> Result<Vec<u8>, ServiceError> {
        const SEQUENCE: u8 = 0x30;
        let text = std::str::from_utf8(&self.body).ok();
        match text.and_then(|text| hex::decode(text.trim()).ok()) {
            Some(der) => Ok(der),
            None if self.body.first() == Some(&SEQUENCE) => Ok(self.body.clone()),
            None => Err(self.wrong("a revocation list that is neither DER nor hex")),
        }
    }

    /// The issuer chain, percent-encoded PEM, of the first of these headers that is there.
    pub(crate) fn chain(&self, headers: &[&str]) -> Result<String, ServiceError> {
        let value = headers.iter().find_map(|name| self.headers.get(*name));
        let value =
            value.ok_or_else(|| self.wrong(format!("no header {}", headers.join(" or "))))?;
        percent_decoded(value.as_bytes())
            .ok_or_else(|| self.wrong(format!("header {} is not PEM", headers[0])))
    }

    fn wrong(&self, what: impl ToString) -> ServiceError {
        ServiceError::Form { url: self.url.clone(), what: what.to_string() }
    }
}

/// RFC 3986, section 2.1; the result must be text.
fn percent_decoded(text: &[u8]) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            let (digits, tail) = tail.split_at_checked(2)?;
            decoded.extend(hex::decode(digits).ok()?);
            rest = tail;
        } else {
            decoded.push(byte);
            rest = tail;
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(headers: &[(&'static str, &str)], body: &[u8]) -> Answer {
        let pair = |(name, value): &(&'static str, &str)| {
            ((*name).parse().unwrap(), value.parse().unwrap())
        };
        Answer { url: "u".into(), headers: headers.iter().map(pair).collect(), body: body.to_vec() }
    }

    #[test]
    fn chains_are_decoded_and_the_first_header_counts() {
        let both = answer(
            &[("sgx-tcb-info-issuer-chain", "old"), ("tcb-info-issuer-chain", "a%20b%0A")],
            b"",
        );
        assert_eq!(
            both.chain(&["TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"]).unwrap(),
            "a b\n"
        );
        assert!(both.chain(&["Other"]).unwrap_err().to_string().contains("no header Other"));
        for bad in ["%", "%0", "%zz", "%ff"] {
            assert!(answer(&[("a", bad)], b"").chain(&["A"]).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_come_as_der_or_as_hex() {
        let der = [0x30, 0x82, 0x01, 0x00, 7];
        assert_eq!(answer(&[], &der).list().unwrap(), der);
        assert_eq!(answer(&[], b"3082010007\n").list().unwrap(), der);
        assert!(answer(&[], b"<html>").list().is_err());
        assert!(answer(&[], b"").list().unwrap().is_empty(), "refused where lists are parsed");
    }

    #[test]
    fn a_signed_document_keeps_its_bytes() {
        let body = br#"{"tcbInfo":{ "b" : 1,"a":2.0 },"signature":"00"}"#;
        let parsed = answer(&[], body);
        let answer: TcbInfoAnswer<'_> = parsed.json().unwrap();
        assert_eq!(answer.document.get(), r#"{ "b" : 1,"a":2.0 }"#);
        let unknown = br#"{"tcbInfo":{},"signature":"00","more":1}"#;
        assert!(self::answer(&[], unknown).json::<TcbInfoAnswer<'_>>().is_err());
    }
}
