//! The emulated platform's collateral as Intel's service hands it out.
//!
//! Source: Intel SGX and Intel TDX Provisioning Certification Service API, version 4: the four
//! requests that TDX quotes need, with chains percent-encoded in headers. Lists come as DER, but
//! for the root's, which caches of Intel's service (PCCS) give as hex; Intel's own does not have
//! it.

pub mod server;

use std::time::{Duration, SystemTime};

use x509_cert::der::DateTime;

use crate::collateral::Collateral;
use crate::lie::Lie;
use crate::pki::{Chain, PkiError};
use crate::quote::platform::{self, pck_facts};

/// Documents are issued once in this time, so that those who ask twice are told the same.
const PERIOD: Duration = Duration::from_secs(3600);
/// Who issued the platform's certificate, as the API spells it.
const CA: &str = "platform";

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Which certificates of platforms are revoked.
    PckCrl {
        /// By whom.
        ca: String,
    },
    /// Which CAs are revoked.
    RootCaCrl,
    /// Which versions are up to date.
    TcbInfo {
        /// On which kind of platform.
        fmspc: [u8; 6],
    },
    /// Which enclave may sign quotes.
    QeIdentity,
}

/// What is answered, besides status 200.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The header with the issuer's chain, if the answer has one.
    pub chain: Option<(&'static str, String)>,
    /// The document.
    pub body: Vec<u8>,
}

impl Question {
    /// Reads a request's target; `None` if nothing is there.
    pub fn parse(target: &str) -> Option<Self> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        match path {
            "/sgx/certification/v4/pckcrl" => {
                let ca = query.strip_prefix("ca=")?.strip_suffix("&encoding=der")?;
                Some(Self::PckCrl { ca: ca.to_owned() })
            }
            "/sgx/certification/v4/rootcacrl" if query.is_empty() => Some(Self::RootCaCrl),
            "/tdx/certification/v4/tcb" => {
                let fmspc = hex::decode(query.strip_prefix("fmspc=")?).ok()?;
                Some(Self::TcbInfo { fmspc: fmspc.try_into().ok()? })
            }
            "/tdx/certification/v4/qe/identity" if query.is_empty() => Some(Self::QeIdentity),
            _ => None,
        }
    }

    /// Whether it is about the emulated platform.
    pub fn is_about_this_platform(&self) -> bool {
        match self {
            Self::PckCrl { ca } => ca == CA,
            Self::TcbInfo { fmspc } => *fmspc == platform::FMSPC,
            Self::RootCaCrl | Self::QeIdentity => true,
        }
    }

    /// The answer out of this collateral, whichever platform it is for.
    pub fn answer(&self, collateral: &Collateral) -> Result<Answer, hex::FromHexError> {
        let chain = |name, pem: &str| Some((name, encoded(pem)));
        let signed = |name: &str, document: &str, signature: &str| {
            format!("{{\"{name}\":{document},\"signature\":\"{signature}\"}}").into_bytes()
        };
        Ok(match self {
            Self::PckCrl { .. } => Answer {
                chain: chain("SGX-PCK-CRL-Issuer-Chain", &collateral.pck_crl_issuer_chain),
                body: hex::decode(&collateral.pck_crl)?,
            },
            Self::RootCaCrl => {
                Answer { chain: None, body: collateral.root_ca_crl.clone().into_bytes() }
            }
            Self::TcbInfo { .. } => Answer {
                chain: chain("TCB-Info-Issuer-Chain", &collateral.tcb_info_issuer_chain),
                body: signed("tcbInfo", &collateral.tcb_info, &collateral.tcb_info_signature),
            },
            Self::QeIdentity => Answer {
                chain: chain(
                    "SGX-Enclave-Identity-Issuer-Chain",
                    &collateral.qe_identity_issuer_chain,
                ),
                body: signed(
                    "enclaveIdentity",
                    &collateral.qe_identity,
                    &collateral.qe_identity_signature,
                ),
            },
        })
    }
}

/// The collateral that is handed out at `now`: never older than two hours, never younger than one,
/// so that it is valid by a guest's clock that is behind this host's.
pub fn collateral_at(now: SystemTime, lie: Option<Lie>) -> Result<Collateral, PkiError> {
    let now = DateTime::try_from(now)?.unix_duration().as_secs();
    let issued = (now / PERIOD.as_secs()).saturating_sub(1) * PERIOD.as_secs();
    let issued = DateTime::from_unix_duration(Duration::from_secs(issued))?;
    Collateral::issue(&Chain::issue(issued, &pck_facts(lie), lie)?, issued, lie)
}

/// Every byte that is no letter or digit as `%XX`, as chains stand in headers.
pub fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn at(secs: u64) -> Collateral {
        collateral_at(SystemTime::UNIX_EPOCH + Duration::from_secs(secs), None).unwrap()
    }

    #[test]
    fn questions_are_those_of_the_api_and_no_others() {
        let good = [
            ("/sgx/certification/v4/pckcrl?ca=platform&encoding=der", true),
            ("/sgx/certification/v4/pckcrl?ca=processor&encoding=der", false),
            ("/sgx/certification/v4/rootcacrl", true),
            ("/tdx/certification/v4/tcb?fmspc=da96e4000000", true),
            ("/tdx/certification/v4/tcb?fmspc=DA96E4000000", true),
            ("/tdx/certification/v4/tcb?fmspc=00906ea10000", false),
            ("/tdx/certification/v4/qe/identity", true),
        ];
        for (target, ours) in good {
            let question = Question::parse(target).unwrap();
            assert_eq!(question.is_about_this_platform(), ours, "{target}");
        }
        for target in [
            "",
            "/",
            "/sgx/certification/v4/pckcrl?ca=platform",
            "/sgx/certification/v3/rootcacrl",
            "/sgx/certification/v4/tcb?fmspc=da96e4000000",
            "/tdx/certification/v4/tcb",
            "/tdx/certification/v4/tcb?fmspc=da96e40000",
            "/tdx/certification/v4/tcb?fmspc=da96e4000000&update=early",
            "/tdx/certification/v4/qe/identity?update=early",
        ] {
            assert_eq!(Question::parse(target), None, "{target}");
        }
    }

    #[test]
    fn documents_change_with_the_hour_and_are_one_to_two_hours_old() {
        let (first, last) = (at(NOW), at(NOW + 3599));
        assert_eq!(first, last);
        assert_ne!(first, at(NOW + 3600));
        assert!(first.tcb_info.contains("\"issueDate\":\"2027-01-15T07:00:00Z\""), "{first:?}");
    }

    #[test]
    fn a_document_keeps_the_bytes_that_were_signed() {
        let collateral = at(NOW);
        let answer = Question::QeIdentity.answer(&collateral).unwrap();
        let body = String::from_utf8(answer.body).unwrap();
        assert!(
            body.contains(&collateral.qe_identity) && body.starts_with("{\"enclaveIdentity\":{")
        );
        let (name, chain) = answer.chain.unwrap();
        assert_eq!(name, "SGX-Enclave-Identity-Issuer-Chain");
        assert!(chain.starts_with("%2D%2D%2D%2D%2DBEGIN%20CERTIFICATE"), "{chain}");
    }
}
