//! The certificate that is served under a name now.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use gateway_domain::certificate::Certificate;
use gateway_domain::name::DomainName;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

/// For each step of the handshake.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The leaf that a server shows for a name, and whose key it proves to hold.
pub fn certificate(name: &DomainName, address: Option<SocketAddr>) -> Result<Certificate, String> {
    let at = |what: String| format!("{name}: {what}");
    let address = match address {
        Some(address) => address,
        None => {
            let mut found =
                (name.as_str(), 443).to_socket_addrs().map_err(|error| at(error.to_string()))?;
            found.next().ok_or_else(|| at("leads nowhere".to_owned()))?
        }
    };
    let der = handshake(name, address).map_err(at)?;
    Certificate::parse(&der).map_err(|error| at(error.to_string()))
}

fn handshake(name: &DomainName, address: SocketAddr) -> Result<CertificateDer<'static>, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| text(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyChain(provider)))
        .with_no_client_auth();
    let server = ServerName::try_from(name.to_string()).map_err(|error| text(&error))?;
    let mut connection =
        ClientConnection::new(Arc::new(config), server).map_err(|error| text(&error))?;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).map_err(|error| text(&error))?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(|error| text(&error))?;
    stream.set_write_timeout(Some(TIMEOUT)).map_err(|error| text(&error))?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).map_err(|error| text(&error))?;
    }
    let chain = connection.peer_certificates().unwrap_or_default();
    let leaf = chain.first().ok_or("the server shows no certificate")?;
    Ok(leaf.clone().into_owned())
}

/// Takes any chain: whether an authority signed is a browser's question. Here the key's evidence
/// decides, and the server must prove that it holds the key.
#[derive(Debug)]
struct AnyChain(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyChain {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
