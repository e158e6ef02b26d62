//! TLS 1.3 with raw public keys (RFC 7250), post-quantum key exchange first and no resumption.
//!
//! A key is made for one process and never leaves it. Which key a peer shows decides nothing here:
//! it is bound by the peer's evidence, so every key whose owner signs the handshake is let through.

use std::sync::Arc;

use protocol::channel::{EXPORTER_BYTES, EXPORTER_LABEL};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ConnectionCommon, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme, version,
};

use crate::machine::Session;

/// PKCS#8 version 1 of an Ed25519 key up to its 32 bytes (RFC 8410, section 7).
const PKCS8_ED25519: [u8; 16] =
    [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// Why a connection cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// randomness
    #[error("the system gives no randomness")]
    Random(#[from] getrandom::Error),
    /// the library
    #[error("TLS")]
    Tls(#[from] Error),
    /// the peer showed no key
    #[error("the peer showed no key in the handshake")]
    NoKey,
    /// no application protocol was negotiated
    #[error("the peer does not speak {0}")]
    Alpn(String),
}

/// An Ed25519 key of one process, for handshakes only.
#[derive(Clone)]
pub struct TlsKey(Arc<CertifiedKey>);

impl std::fmt::Debug for TlsKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsKey")
    }
}

impl TlsKey {
    /// Makes a key from the system's randomness.
    ///
    /// # Errors
    /// If the system has none.
    pub fn generate() -> Result<Self, TlsError> {
        let mut document = [0; PKCS8_ED25519.len() + 32];
        let (head, seed) = document.split_at_mut(PKCS8_ED25519.len());
        head.copy_from_slice(&PKCS8_ED25519);
        getrandom::fill(seed)?;
        let private = PrivatePkcs8KeyDer::from(document.to_vec());
        let key = aws_lc_rs::sign::any_eddsa_type(&private)?;
        let spki =
            key.public_key().ok_or_else(|| Error::General("a key without a public".into()))?;
        let public = CertificateDer::from(spki.as_ref().to_vec());
        Ok(Self(Arc::new(CertifiedKey::new(vec![public], key))))
    }

    /// DER of the SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.0.cert[0]
    }
}

/// Settings of a client that shows `key`.
///
/// # Errors
/// If the library refuses them.
pub fn client(key: &TlsKey, alpn: &[u8]) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = provider();
    let verifier = AnyRawKey(provider.signature_verification_algorithms);
    let resolver = AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&key.0));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    config.enable_early_data = false;
    Ok(Arc::new(config))
}

/// Settings of a server that shows `key` and wants one of its client.
///
/// # Errors
/// If the library refuses them.
pub fn server(key: &TlsKey, alpn: &[u8]) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let verifier = AnyRawKey(provider.signature_verification_algorithms);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::clone(&key.0))));
    config.alpn_protocols = vec![alpn.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// What a finished handshake showed.
///
/// # Errors
/// If no application protocol was negotiated, or the keying material cannot be exported.
pub fn session<D>(
    connection: &ConnectionCommon<D>,
    own: &TlsKey,
    alpn: &[u8],
) -> Result<Session, TlsError> {
    if connection.alpn_protocol() != Some(alpn) {
        return Err(TlsError::Alpn(String::from_utf8_lossy(alpn).into_owned()));
    }
    let exporter = [0; EXPORTER_BYTES];
    let exporter = connection.export_keying_material(exporter, EXPORTER_LABEL, None)?;
    let shown = connection.peer_certificates().and_then(|keys| keys.first());
    let peer_spki = shown.ok_or(TlsError::NoKey)?.to_vec();
    Ok(Session { alpn: alpn.to_vec(), own_spki: own.spki().to_vec(), peer_spki, exporter })
}

/// aws-lc with X25519MLKEM768 offered first, then X25519 for who cannot.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519MLKEM768, aws_lc_rs::kx_group::X25519];
    Arc::new(provider)
}

/// Lets every raw public key through whose owner signs the handshake.
#[derive(Debug)]
struct AnyRawKey(WebPkiSupportedAlgorithms);

impl AnyRawKey {
    fn tls13(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.0)
    }
}

/// There is no connection with an older version: [`client`] and [`server`] offer 1.3 alone.
fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("TLS 1.2 is not spoken".into()))
}

impl ServerCertVerifier for AnyRawKey {
    fn verify_server_cert(
        &self,
        _key: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.tls13(message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for AnyRawKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _key: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.tls13(message, key, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
