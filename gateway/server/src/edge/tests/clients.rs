//! Clients: rustls's, and hellos as bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, SupportedProtocolVersion, version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::rig::roots;

/// How long an answer at once may take on a busy machine; less than any bound of the edge.
pub const AT_ONCE: Duration = Duration::from_secs(3);

/// A client's settings.
pub struct Client {
    pub config: ClientConfig,
}

impl Client {
    /// A client that trusts a certificate.
    pub fn of(certificate: &CertificateDer<'static>) -> Self {
        Self::with(certificate, &[&version::TLS13, &version::TLS12])
    }

    /// The same with these versions.
    pub fn with(
        certificate: &CertificateDer<'static>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let kx_groups = vec![aws_lc_rs::kx_group::X25519MLKEM768, aws_lc_rs::kx_group::X25519];
        let provider = CryptoProvider { kx_groups, ..aws_lc_rs::default_provider() };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots(certificate))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Self { config }
    }

    /// With protocols inside.
    pub fn alpn(mut self, names: &[&[u8]]) -> Self {
        self.config.alpn_protocols = names.iter().map(|name| name.to_vec()).collect();
        self
    }

    /// Connects.
    pub async fn connect(
        &self,
        address: SocketAddr,
        name: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        let connector = TlsConnector::from(Arc::new(self.config.clone()));
        connector.connect(ServerName::try_from(name.to_owned()).unwrap(), stream).await
    }

    /// The bytes that such a client sends first.
    pub fn hello(&self, name: &str) -> Vec<u8> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(self.config.clone()), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }
}

/// Sends bytes and reads all that is answered until the edge ends the connection.
pub async fn answer(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(AT_ONCE, stream.read_to_end(&mut answer)).await;
    read.expect("an answer at once").unwrap();
    answer
}

/// The name in a hello's bytes put in another form of the same length.
pub fn renamed(mut hello: Vec<u8>, old: &str, new: &str) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let at = hello.windows(old.len()).position(|part| part == old.as_bytes()).expect("the name");
    hello[at..at + old.len()].copy_from_slice(new.as_bytes());
    hello
}

/// The description of the fatal alert that an answer is.
pub fn alert(answer: &[u8]) -> u8 {
    assert_eq!((answer.len(), answer[0], answer[5]), (7, 21, 2), "{answer:?} is no fatal alert");
    answer[6]
}
