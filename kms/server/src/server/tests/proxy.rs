//! What a host's proxy between a guest and its KMS gets, on real connections: it may carry sealed
//! bytes, and that is all.

use std::net::SocketAddr;
use std::sync::Mutex;

use channel::tls;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

/// First byte of what a client sends in TLS: the type of a record (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// What the proxy does with what it carries.
#[derive(Debug, Clone, Copy)]
enum Does {
    /// Carries the bytes as they come.
    Carry,
    /// Ends TLS on both sides, with a key of its own, and carries what lies inside.
    EndTls,
}

/// A proxy before `kms`: its address, and what it saw of a guest's bytes.
async fn proxy(kms: SocketAddr, does: Does) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sees = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (guest, _) = listener.accept().await.unwrap();
            let kms = TcpStream::connect(kms).await.unwrap();
            let sees = Arc::clone(&sees);
            tokio::spawn(async move {
                match does {
                    Does::Carry => carry(guest, kms, sees).await,
                    Does::EndTls => {
                        let key = TlsKey::generate().unwrap();
                        let acceptor = TlsAcceptor::from(tls::server(&key, ALPN_KMS).unwrap());
                        let connector = TlsConnector::from(tls::client(&key, ALPN_KMS).unwrap());
                        let name = ServerName::try_from("dstyx.invalid").unwrap();
                        let (guest, kms) =
                            tokio::join!(acceptor.accept(guest), connector.connect(name, kms));
                        carry(guest.unwrap(), kms.unwrap(), sees).await;
                    }
                }
            });
        }
    });
    (address, seen)
}

/// Copies both ways, and keeps what the guest sent first.
async fn carry<G, K>(mut guest: G, mut kms: K, seen: Arc<Mutex<Vec<u8>>>)
where
    G: AsyncRead + AsyncWrite + Unpin,
    K: AsyncRead + AsyncWrite + Unpin,
{
    let mut first = vec![0; 4096];
    let read = guest.read(&mut first).await.unwrap();
    seen.lock().unwrap().extend_from_slice(&first[..read]);
    kms.write_all(&first[..read]).await.unwrap();
    kms.flush().await.unwrap();
    // Whoever ends first ends both.
    let _ = copy_bidirectional(&mut guest, &mut kms).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_ends_tls_relays_genuine_evidence_in_vain() {
    let app = Emulated::new("app", false);
    let (mut running, _directory) = serving(anchor(), &app).await;
    let genuine = running.address;
    let entries = entries(&running).await;

    // It sees the frames of both, and each side finds that the evidence was made for another
    // connection.
    let (address, seen) = proxy(genuine, Does::EndTls).await;
    running.address = address;
    let refused = refusal(running.guest(&app).await);
    assert_eq!(refused.code, RefusalCode::Evidence);
    assert!(refused.text.contains("report-data"), "{}", refused.text);
    assert_ne!(seen.lock().unwrap().first(), Some(&TLS_HANDSHAKE), "it reads the frames");
    let owner = running.owner().await;
    assert!(owner.is_err(), "an owner's word was relayed");
    running.address = genuine;
    assert_eq!(self::entries(&running).await, entries, "something was decided");

    // One that carries the bytes disturbs nothing, and can read none of them.
    let (address, seen) = proxy(genuine, Does::Carry).await;
    running.address = address;
    let mut guest = running.guest(&app).await.unwrap();
    let request = GetAppKeyRequest::default();
    let keys: AppKeyResponse = ask(&mut guest, "GetAppKey", &request).await.unwrap();
    assert_eq!(keys.disk_crypt_key.len(), 64);
    assert_eq!(seen.lock().unwrap().first(), Some(&TLS_HANDSHAKE));
}

/// How long the ledger is.
async fn entries(running: &Running) -> u64 {
    let mut owner = running.owner().await.unwrap();
    let status: StatusResponse = ask(&mut owner, "Status", &Empty {}).await.unwrap();
    status.entries
}
