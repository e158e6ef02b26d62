//! Which collateral a quote needs: the kind of its platform and the CA of its PCK certificate, as
//! the quote says.
//!
//! Nothing is judged here. A quote that lies about either leads to collateral that does not fit it,
//! which the judgement then refuses.

use std::fmt;

use dcap_qvl::config::PckCa;
use dcap_qvl::intel::{parse_pck_extension, pck_ca};
use protocol::quote::{Quote, QuoteError};

use crate::certificate::{Certificate, CertificateError};
use crate::signature_data::{SignatureData, SignatureDataError};

/// What collateral is fetched and kept by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlatformKey {
    /// Family, model, stepping, platform type and custom SKU.
    pub fmspc: [u8; 6],
    /// Who issues the PCK certificates of such platforms.
    pub ca: IssuingCa,
}

/// The two CAs below Intel's root that issue PCK certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IssuingCa {
    /// Of platforms with one package.
    Processor,
    /// Of platforms with several.
    Platform,
}

impl IssuingCa {
    /// `processor` or `platform`, as Intel's service spells them.
    pub fn name(self) -> &'static str {
        match self {
            Self::Processor => "processor",
            Self::Platform => "platform",
        }
    }
}

/// `50806f000000-platform`.
impl fmt::Display for PlatformKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", hex::encode(self.fmspc), self.ca.name())
    }
}

/// Why a quote does not say which collateral it needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformKeyError {
    /// no TDX quote
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// signature data that cannot be read
    #[error("{0}")]
    SignatureData(String),
    /// no certificates in it
    #[error("the quote carries no PCK certificate chain")]
    NoChain,
    /// certificates that cannot be read
    #[error("PCK certificates: {0}")]
    Certificates(String),
}

/// Reads FMSPC and CA out of a quote.
pub fn platform_key(quote: &[u8]) -> Result<PlatformKey, PlatformKeyError> {
    let data = SignatureData::parse(&Quote::parse(quote)?.signature_data)?;
    let chain = Certificate::parse_chain(&data.pck_chain.ok_or(PlatformKeyError::NoChain)?)?;
    let unreadable = |error: &dyn fmt::Display| PlatformKeyError::Certificates(error.to_string());
    let extension = parse_pck_extension(&chain[0].der).map_err(|error| unreadable(&error))?;
    let ca = match pck_ca(&chain[0].der).map_err(|error| unreadable(&error))? {
        PckCa::Processor => IssuingCa::Processor,
        PckCa::Platform => IssuingCa::Platform,
    };
    Ok(PlatformKey { fmspc: extension.fmspc, ca })
}

impl From<SignatureDataError> for PlatformKeyError {
    fn from(error: SignatureDataError) -> Self {
        Self::SignatureData(error.to_string())
    }
}

impl From<CertificateError> for PlatformKeyError {
    fn from(error: CertificateError) -> Self {
        Self::Certificates(error.to_string())
    }
}
