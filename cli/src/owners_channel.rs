//! This user's end of an attested channel: the key signs the connection, the other end proves.

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

/// Opens a channel to `HOST:PORT`: what answers is judged, this owner's key signs the connection.
pub async fn open<J: Judge>(
    address: &str,
    service: Service,
    owner: Arc<Owner>,
    judge: J,
) -> Result<VerifiedChannel<J::Peer, TcpStream>, ChannelError> {
    let side = Side::Client { server: service.server };
    let party = Party {
        settings: Settings { own: Role::Owner, side },
        alpn: service.alpn,
        key: TlsKey::generate()?,
        attester: Arc::new(OwnersAttester(owner)),
        judge: Arc::new(judge),
    };
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    let stream = stream.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))?;
    connect(stream, &party).await
}

/// An owner has no evidence: its key signs.
struct OwnersAttester(Arc<Owner>);

impl Attester for OwnersAttester {
    async fn prove(&self, _binding: &Binding) -> Result<Proof, String> {
        Err("an owner's tool is no guest".to_owned())
    }

    async fn sign(&self, signed: &[u8]) -> Result<OwnerProof, String> {
        Ok(self.0.prove(signed))
    }
}
