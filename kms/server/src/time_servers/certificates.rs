//! Certificates of time servers, judged before the time is known.
//!
//! A certificate says when it is valid, and the time is what its server is asked for. So its chain
//! is judged at the earliest moment of its own validity that has not passed for certain, and the
//! server's word counts only if it lies in that validity. A key that was stolen once and has
//! expired tells no time but one of its own past, which servers with other keys must agree with.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore};
use rustls::{SignatureScheme, client::Resumption, version};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

/// Name of the protocol in the handshake (RFC 8915, section 4).
const ALPN: &[u8] = b"ntske/1";

/// Whose certificates time servers may have.
#[derive(Debug, Clone)]
pub enum Roots {
    /// Mozilla's list as it was when this program was built: a container has no store.
    CompiledIn,
    /// These and no others.
    #[cfg(test)]
    Only(Vec<CertificateDer<'static>>),
}

impl Roots {
    fn store(&self) -> Result<RootCertStore, Error> {
        let mut store = RootCertStore::empty();
        match self {
            Self::CompiledIn => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            #[cfg(test)]
            Self::Only(roots) => roots.iter().try_for_each(|root| store.add(root.clone()))?,
        }
        Ok(store)
    }

    /// Settings of a client that takes certificates of these roots; a time that has passed for
    /// certain is in seconds since 1970.
    pub(super) fn client(&self, not_before_secs: u64) -> Result<Arc<ClientConfig>, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = verifier(self.store()?, &provider, not_before_secs)?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        Ok(Arc::new(config))
    }
}

/// Whether the handshake agreed on the protocol.
pub(super) fn speaks(alpn: Option<&[u8]>) -> bool {
    alpn == Some(ALPN)
}

/// When a certificate is valid, in seconds since 1970.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Option<RangeInclusive<u64>> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let validity = certificate.tbs_certificate().validity();
    let secs = |time: x509_cert::time::Time| time.to_unix_duration().as_secs();
    Some(secs(validity.not_before)..=secs(validity.not_after))
}

fn verifier(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
    not_before_secs: u64,
) -> Result<AtItsOwnTime, Error> {
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let inner = inner.build().map_err(|error| Error::General(error.to_string()))?;
    Ok(AtItsOwnTime { inner, not_before_secs })
}

/// Judges a chain as any client does, but at a time of its leaf's own.
#[derive(Debug)]
struct AtItsOwnTime {
    inner: Arc<WebPkiServerVerifier>,
    not_before_secs: u64,
}

impl ServerCertVerifier for AtItsOwnTime {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let bad = Error::InvalidCertificate(CertificateError::BadEncoding);
        let valid = validity(leaf).ok_or(bad)?;
        // One that has expired for certain is judged at that time, and so refused.
        let at_secs = self.not_before_secs.max(*valid.start());
        let at = UnixTime::since_unix_epoch(Duration::from_secs(at_secs));
        self.inner.verify_server_cert(leaf, intermediates, name, ocsp, at)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
