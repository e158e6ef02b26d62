//! Asking Intel's provisioning certification service, or a cache of it (PCCS), for collateral.
//!
//! Source: Intel SGX and Intel TDX Provisioning Certification Service API, version 4. Whoever
//! answers is not trusted: time, size and redirections are bounded here, and what comes back is no
//! more than bytes until `attestation` has judged it. So plain HTTP will do as well as HTTPS.

use std::io::Read as _;
use std::time::Duration;

use attestation::{Collateral, CollateralError, PlatformKey};
use serde::Deserialize;
use serde_json::value::RawValue;
use ureq::http::{HeaderMap, StatusCode, Uri};

/// Intel's own service. Source: Intel's documentation of the API,
/// `https://api.portal.trustedservices.intel.com`.
pub const INTEL_PCS: &str = "https://api.trustedservices.intel.com";
/// The root CA's revocation list, which Intel's service has not. Source: the distribution point in
/// the root certificate.
const INTEL_ROOT_CRL: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";
/// What the quote generation service's configuration (`pccs_url`) has behind the address; the
/// requests bring their own.
const API_PATHS: [&str; 2] = ["/sgx/certification/v4", "/tdx/certification/v4"];
/// For one of the four requests, from connecting to the last byte: Intel answers within a second.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Largest answer: TCB info has about 20 KiB, revocation lists a few; a tenth of it is usual.
const MAX_BODY_BYTES: u64 = 256 * 1024;
/// Longest issuer chain in a header, still percent-encoded: Intel's have 4 KiB.
const MAX_HEADER_BYTES: usize = 32 * 1024;

/// Why a service gave no collateral.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// not an address to ask
    #[error("{0:?} is no address of a collateral service")]
    Address(String),
    /// nobody answered, or not in time
    #[error("{url} cannot be asked")]
    Request {
        /// What was asked.
        url: String,
        /// Why not.
        source: Box<ureq::Error>,
    },
    /// the answer broke off, or did not end in time
    #[error("{url} did not answer to the end")]
    Body {
        /// What was asked.
        url: String,
        /// Why not.
        source: std::io::Error,
    },
    /// an answer that is none
    #[error("{url} answers with status {status}, expected 200")]
    Status {
        /// What was asked.
        url: String,
        /// The status; redirections are not followed.
        status: u16,
    },
    /// more than collateral ever has
    #[error("{url} sends more than {MAX_BODY_BYTES} bytes")]
    TooLong {
        /// What was asked.
        url: String,
    },
    /// an answer in another form
    #[error("{url}: {what}")]
    Form {
        /// What was asked.
        url: String,
        /// What is wrong.
        what: String,
    },
    /// parts that make no collateral
    #[error(transparent)]
    Collateral(#[from] CollateralError),
}

impl ServiceError {
    /// What to try.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Address(_) => "give an address such as https://pccs.example:8081, without path",
            Self::Status { status: 404, .. } => {
                "the service does not know this kind of platform; is it registered? else name another with --pccs"
            }
            _ => {
                "is the service up? name another with --pccs or DSTYX_PCCS; collateral in the cache serves until it expires"
            }
        }
    }
}

/// A service by its address.
#[derive(Debug)]
pub struct Service {
    base: String,
    agent: ureq::Agent,
}

/// An answer with what is needed of its headers.
struct Answer {
    url: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// `tcb`: the text of `tcbInfo` is what is signed, so it is kept as it came.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TcbInfoAnswer<'a> {
    #[serde(rename = "tcbInfo", borrow)]
    document: &'a RawValue,
    signature: String,
}

/// `qe/identity`, likewise.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QeIdentityAnswer<'a> {
    #[serde(rename = "enclaveIdentity", borrow)]
    document: &'a RawValue,
    signature: String,
}

impl Service {
    /// The service at `address`: scheme, host, port, and nothing else but a path that is put in
    /// front.
    pub fn new(address: &str) -> Result<Self, ServiceError> {
        let wrong = || ServiceError::Address(address.to_owned());
        let uri: Uri = address.parse().map_err(|_| wrong())?;
        let host = uri.host().ok_or_else(wrong)?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.query().is_some() {
            return Err(wrong());
        }
        let mut config = ureq::Agent::config_builder()
            .tls_config(reproducible_build::tls::config())
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .http_status_as_error(false)
            .max_response_header_size(MAX_HEADER_BYTES);
        if ["localhost", "127.0.0.1", "[::1]"].contains(&host) {
            config = config.proxy(None);
        }
        let address = address.trim_end_matches('/');
        let base = API_PATHS.iter().find_map(|path| address.strip_suffix(path)).unwrap_or(address);
        Ok(Self { base: base.to_owned(), agent: config.build().into() })
    }

    /// All collateral for one kind of platform, but for the PCK certificates, which quotes carry.
    pub fn fetch(&self, key: &PlatformKey) -> Result<Collateral, ServiceError> {
        let pck_crl = self.get("sgx", &format!("pckcrl?ca={}&encoding=der", key.ca.name()))?;
        let tcb = self.get("tdx", &format!("tcb?fmspc={}", hex::encode(key.fmspc)))?;
        let identity = self.get("tdx", "qe/identity")?;
        let root_crl = match self.base.as_str() {
            INTEL_PCS => self.ask(INTEL_ROOT_CRL.to_owned())?,
            _ => self.get("sgx", "rootcacrl")?,
        };
        let tcb_info: TcbInfoAnswer<'_> = tcb.json()?;
        let qe_identity: QeIdentityAnswer<'_> = identity.json()?;
        let json = serde_json::json!({
            "pck_crl_issuer_chain": pck_crl.chain(&["SGX-PCK-CRL-Issuer-Chain"])?,
            "pck_crl": hex::encode(pck_crl.list()?),
            "root_ca_crl": hex::encode(root_crl.list()?),
            "tcb_info_issuer_chain": tcb.chain(&["TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"])?,
            "tcb_info": tcb_info.document.get(),
            "tcb_info_signature": tcb_info.signature,
            "qe_identity_issuer_chain": identity.chain(&["SGX-Enclave-Identity-Issuer-Chain"])?,
            "qe_identity": qe_identity.document.get(),
            "qe_identity_signature": qe_identity.signature,
        });
        Ok(Collateral::parse(json.to_string().as_bytes())?)
    }

    fn get(&self, tee: &str, what: &str) -> Result<Answer, ServiceError> {
        self.ask(format!("{}/{tee}/certification/v4/{what}", self.base))
    }

    fn ask(&self, url: String) -> Result<Answer, ServiceError> {
        let response = match self.agent.get(&url).call() {
            Ok(response) => response,
            Err(error) => return Err(ServiceError::Request { url, source: Box::new(error) }),
        };
        if response.status() != StatusCode::OK {
            return Err(ServiceError::Status { url, status: response.status().as_u16() });
        }
        let (parts, body) = response.into_parts();
        let mut bytes = Vec::new();
        match body.into_reader().take(MAX_BODY_BYTES + 1).read_to_end(&mut bytes) {
            Ok(_) if bytes.len() as u64 > MAX_BODY_BYTES => Err(ServiceError::TooLong { url }),
            Ok(_) => Ok(Answer { url, headers: parts.headers, body: bytes }),
            Err(source) => Err(ServiceError::Body { url, source }),
        }
    }
}

impl Answer {
    fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, ServiceError> {
        serde_json::from_slice(&self.body).map_err(|error| self.wrong(error))
    }

    /// DER, or hex of it, which is how caches of Intel's service hand lists on.
    fn list(&self) -> Result<Vec<u8>, ServiceError> {
        const SEQUENCE: u8 = 0x30;
        let text = std::str::from_utf8(&self.body).ok();
        match text.and_then(|text| hex::decode(text.trim()).ok()) {
            Some(der) => Ok(der),
            None if self.body.first() == Some(&SEQUENCE) => Ok(self.body.clone()),
            None => Err(self.wrong("a revocation list that is neither DER nor hex")),
        }
    }

    /// The issuer chain, percent-encoded PEM, of the first of these headers that is there.
    fn chain(&self, headers: &[&str]) -> Result<String, ServiceError> {
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
    fn addresses_have_a_scheme_and_a_host_and_no_query() {
        for good in [
            "http://127.0.0.1:8081",
            "https://pccs.example/",
            INTEL_PCS,
            "https://proxy.example/pccs",
        ] {
            assert!(Service::new(good).is_ok(), "{good}");
        }
        for bad in
            ["", "pccs.example", "file:///etc/passwd", "ftp://a", "http://", "http://a?b=c", "a b"]
        {
            assert!(matches!(Service::new(bad), Err(ServiceError::Address(_))), "{bad}");
        }
    }

    #[test]
    fn the_address_of_a_quote_generation_services_configuration_will_do() {
        for address in ["https://a:8081", "https://a:8081/", "https://a:8081/sgx/certification/v4/"]
        {
            assert_eq!(Service::new(address).unwrap().base, "https://a:8081");
        }
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
