//! The public port: plain TLS and the two calls that anybody may make.
//!
//! Its certificate proves little: a client that needs to know whose answer it has looks at the
//! signature in the answer. TLS keeps the answers from being read and changed on the way.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use service::budget::Budget;
use service::server::Bounds;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::calls::Session;
use crate::member::Member;

/// Connections at a time.
const MAX_CONNECTIONS: usize = 128;
/// Bytes of answers that clients have not read yet.
const MAX_HELD_BYTES: usize = 1 << 20;
/// How long a handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// Shows the one certificate.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// Serves public calls until its task is ended.
pub async fn serve(listener: TcpListener, key: CertifiedKey, member: Arc<Member>) {
    let acceptor = TlsAcceptor::from(Arc::new(config(key)));
    let budget = Budget::new(MAX_HELD_BYTES);
    service::server::accept(listener, MAX_CONNECTIONS, move |stream| {
        let acceptor = acceptor.clone();
        let session = Arc::new(Session::public(Arc::clone(&member), budget.clone()));
        async move {
            if let Ok(Ok(stream)) = timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)).await {
                // Over time or broken off by the client: there is nobody to tell.
                let _ = service::server::connection(stream, session, Bounds::OF_STRANGERS).await;
            }
        }
    })
    .await;
}

fn config(key: CertifiedKey) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .expect("the provider has both versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shown(Arc::new(key))));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}
