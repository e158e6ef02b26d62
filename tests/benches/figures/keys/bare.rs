//! What an attested channel is made of, without what joins it: a TLS 1.3 handshake with the same
//! key exchange and the same kind of keys, and a quote of each side.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use channel::{TlsKey, tls};
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::verify::QuoteVerifier;
use protocol::channel::ALPN_KMS;
use protocol::digest::ReportData;
use tests::emulated::{self, Emulated};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Quotes of a channel: both sides prove.
const QUOTES: u8 = 2;

/// A server of handshakes, and all that its client needs.
pub struct Bare {
    address: SocketAddr,
    connector: TlsConnector,
    guest: Emulated,
    root: Vec<u8>,
    collateral: QuoteCollateralV3,
}

impl Bare {
    /// Whose quotes are those of a guest like this one.
    pub async fn start(guest: &Emulated) -> Self {
        let acceptor = TlsAcceptor::from(tls::server(&key(), ALPN_KMS).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // What the client reads then: that the server's part is over too.
                    let mut stream = acceptor.accept(stream).await.unwrap();
                    stream.write_all(&[1]).await.unwrap();
                    stream.flush().await.unwrap();
                });
            }
        });
        Self {
            address,
            connector: TlsConnector::from(tls::client(&key(), ALPN_KMS).unwrap()),
            guest: guest.clone(),
            root: emulated::root(),
            collateral: serde_json::from_slice(&emulated::collateral_json()).unwrap(),
        }
    }

    /// One handshake, and two quotes made and verified.
    pub async fn once(&self) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let name = ServerName::try_from("dstyx.invalid").unwrap();
        let mut stream = self.connector.connect(name, stream).await.unwrap();
        stream.read_exact(&mut [0]).await.unwrap();
        let now_secs = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        for number in 0..QUOTES {
            let quote = self.guest.evidence(ReportData([number; 64])).quote;
            let verifier = QuoteVerifier::new(self.root.clone());
            verifier.verify(&quote, &self.collateral, now_secs).unwrap();
        }
    }
}

fn key() -> TlsKey {
    TlsKey::generate().unwrap()
}
