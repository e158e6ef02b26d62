//! This user's end of an attested channel: a key signs the connection, the other end proves.

use std::sync::Arc;
use std::time::Duration;

use channel::{
    Attester, ChannelError, Judge, Party, Settings, Side, TlsKey, VerifiedChannel, connect,
};
use protocol::channel::{Binding, OwnerProof, Proof, Role};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::owner::Owner;

/// How long a TCP connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A service that owners reach over a channel.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// Its application protocol.
    pub alpn: &'static [u8],
    /// What answers there.
    pub server: Role,
}

/// A key that signs connections: an owner's, or that of a custodian's member.
pub trait ConnectionKey: Send + Sync + 'static {
    /// Signs the bytes of this connection.
    fn prove(&self, signed: &[u8]) -> OwnerProof;
}

impl ConnectionKey for Owner {
    fn prove(&self, signed: &[u8]) -> OwnerProof {
        Self::prove(self, signed)
    }
}

/// Opens a channel to `HOST:PORT`: what answers is judged, this key signs the connection.
pub async fn open<J: Judge, K: ConnectionKey>(
    address: &str,
    service: Service,
    key: Arc<K>,
    judge: J,
) -> Result<VerifiedChannel<J::Peer, TcpStream>, ChannelError> {
    let side = Side::Client { server: service.server };
    let party = Party {
        settings: Settings { own: Role::Owner, side },
        alpn: service.alpn,
        key: TlsKey::generate()?,
        attester: Arc::new(KeyAttester(key)),
        judge: Arc::new(judge),
    };
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    let stream = stream.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))?;
    connect(stream, &party).await
}

/// An owner has no evidence: its key signs.
struct KeyAttester<K>(Arc<K>);

impl<K: ConnectionKey> Attester for KeyAttester<K> {
    async fn prove(&self, _binding: &Binding) -> Result<Proof, String> {
        Err("an owner's tool is no guest".to_owned())
    }

    async fn sign(&self, signed: &[u8]) -> Result<OwnerProof, String> {
        Ok(self.0.prove(signed))
    }
}
