//! The four requests that collateral for one kind of platform takes, each bounded.

use std::io::Read as _;
use std::time::Duration;

use attestation::{Collateral, PlatformKey};
use ureq::http::{StatusCode, Uri};

use crate::answer::{Answer, QeIdentityAnswer, TcbInfoAnswer};
use crate::error::ServiceError;
use crate::roots::Roots;

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

/// A service by its address.
#[derive(Debug)]
pub struct Service {
    base: String,
    agent: ureq::Agent,
}

impl Service {
    /// The service at `address`: scheme, host, port, and nothing else but a path that is put in
    /// front. Its certificate, where the scheme is https, must lead to one of `roots`.
    pub fn new(address: &str, roots: &Roots) -> Result<Self, ServiceError> {
        let wrong = || ServiceError::Address(address.to_owned());
        let uri: Uri = address.parse().map_err(|_| wrong())?;
        let host = uri.host().ok_or_else(wrong)?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.query().is_some() {
            return Err(wrong());
        }
        let mut config = ureq::Agent::config_builder()
            .tls_config(roots.tls_config())
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
            Ok(_) if bytes.len() as u64 > MAX_BODY_BYTES => {
                Err(ServiceError::TooLong { url, most: MAX_BODY_BYTES })
            }
            Ok(_) => Ok(Answer { url, headers: parts.headers, body: bytes }),
            Err(source) => Err(ServiceError::Body { url, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_scheme_and_a_host_and_no_query() {
        for good in [
            "http://127.0.0.1:8081",
            "https://pccs.example/",
            INTEL_PCS,
            "https://proxy.example/pccs",
        ] {
            assert!(Service::new(good, &Roots::Machine).is_ok(), "{good}");
        }
        for bad in
            ["", "pccs.example", "file:///etc/passwd", "ftp://a", "http://", "http://a?b=c", "a b"]
        {
            assert!(
                matches!(Service::new(bad, &Roots::Machine), Err(ServiceError::Address(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn the_address_of_a_quote_generation_services_configuration_will_do() {
        for address in ["https://a:8081", "https://a:8081/", "https://a:8081/sgx/certification/v4/"]
        {
            assert_eq!(Service::new(address, &Roots::Machine).unwrap().base, "https://a:8081");
        }
    }
}
