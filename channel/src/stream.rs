//! A TCP stream becomes a [`VerifiedChannel`]: handshake, then the machine's frames on the same
//! connection, each within a bound of time and size.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use protocol::channel::{
    Binding, Frame, FrameError, HEADER_BYTES, NONCE_BYTES, OwnerProof, Proof, Refusal,
};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::machine::{Machine, Output, Settings, Violation};
use crate::tls::{self, TlsError, TlsKey};

/// How long the handshake and all proofs may take: two quotes under emulation, and a judgement
/// that may have to fetch collateral.
const WITHIN: Duration = Duration::from_secs(60);
/// The name that TLS wants of a server; it is not sent, and no certificate bears it.
const NAME: &str = "dstyx.invalid";

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// the connection
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// the handshake
    #[error("the handshake")]
    Tls(#[from] TlsError),
    /// a frame that is none
    #[error("the peer sent no frame of the channel")]
    Frame(#[from] FrameError),
    /// the protocol
    #[error("the channel cannot be opened")]
    Violation(#[from] Violation),
    /// the peer's proof was judged and refused, which the peer was told
    #[error("the peer's proof is refused: {}", .0.text)]
    Refused(Refusal),
    /// this side cannot prove
    #[error("this side has no proof: {0}")]
    NoProof(String),
    /// time is up
    #[error("no channel within {} s", WITHIN.as_secs())]
    Late,
}

/// What this side needs to prove itself.
pub trait Attester: Send + Sync {
    /// A proof whose quote has the report data of `binding`; `Err` says why there is none.
    fn prove(&self, binding: &Binding) -> impl Future<Output = Result<Proof, String>> + Send;

    /// An owner's signature; only clients of the role [`Role::Owner`] are asked for one.
    fn sign(&self, _signed: &[u8]) -> impl Future<Output = Result<OwnerProof, String>> + Send {
        async { Err("this side has no owner's key".to_owned()) }
    }
}

/// What decides about the peer.
pub trait Judge: Send + Sync {
    /// What is known of a peer whose proof passed.
    type Peer: Send;

    /// Judges a proof; its quote must have the report data of `binding`.
    fn judge(
        &self,
        proof: Proof,
        binding: &Binding,
    ) -> impl Future<Output = Result<Self::Peer, Refusal>> + Send;

    /// Judges an owner's key and its signature over `signed`.
    fn judge_owner(
        &self,
        proof: OwnerProof,
        signed: &[u8],
    ) -> impl Future<Output = Result<Self::Peer, Refusal>> + Send;

    /// What a client that proves nothing is, if such a client is served at all.
    fn unattested(&self) -> Result<Self::Peer, Refusal>;
}

/// A connection whose two ends have proved themselves to each other as the settings ask. Holding
/// one says: the peer's proof was judged for this connection, and this side's was accepted.
pub struct VerifiedChannel<P, S> {
    stream: TlsStream<S>,
    peer: P,
}

impl<P: std::fmt::Debug, S> std::fmt::Debug for VerifiedChannel<P, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifiedChannel").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl<P, S> VerifiedChannel<P, S> {
    /// What is known of the peer.
    pub fn peer(&self) -> &P {
        &self.peer
    }

    /// The peer and the stream on which requests travel; nothing else gives it out.
    pub fn into_parts(self) -> (P, TlsStream<S>) {
        (self.peer, self.stream)
    }
}

/// One side's parts: what it is, its key, how it proves, and how it judges.
#[derive(Debug, Clone)]
pub struct Party<A, J> {
    /// The role of this side, and which side it is.
    pub settings: Settings,
    /// The application protocol of the service.
    pub alpn: &'static [u8],
    /// The key of this process; a client without evidence makes one for the connection.
    pub key: TlsKey,
    /// How this side proves.
    pub attester: Arc<A>,
    /// How it judges its peer.
    pub judge: Arc<J>,
}

/// Opens a channel as the client.
///
/// # Errors
/// If the connection breaks, the peer is not what it must be, or refuses this side.
pub async fn connect<A: Attester, J: Judge, S: AsyncRead + AsyncWrite + Unpin + Send>(
    stream: S,
    party: &Party<A, J>,
) -> Result<VerifiedChannel<J::Peer, S>, ChannelError> {
    let opened = async {
        let config = tls::client(&party.key, party.alpn)?;
        let name = ServerName::try_from(NAME).expect("a constant name");
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        open(TlsStream::Client(stream), party).await
    };
    timeout(WITHIN, opened).await.unwrap_or(Err(ChannelError::Late))
}

/// Opens a channel as the server.
///
/// # Errors
/// As [`connect`].
pub async fn accept<A: Attester, J: Judge, S: AsyncRead + AsyncWrite + Unpin + Send>(
    stream: S,
    party: &Party<A, J>,
) -> Result<VerifiedChannel<J::Peer, S>, ChannelError> {
    let opened = async {
        let config = tls::server(&party.key, party.alpn)?;
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        open(TlsStream::Server(stream), party).await
    };
    timeout(WITHIN, opened).await.unwrap_or(Err(ChannelError::Late))
}

async fn open<A: Attester, J: Judge, S: AsyncRead + AsyncWrite + Unpin + Send>(
    mut stream: TlsStream<S>,
    party: &Party<A, J>,
) -> Result<VerifiedChannel<J::Peer, S>, ChannelError> {
    let session = match &stream {
        TlsStream::Client(stream) => tls::session(stream.get_ref().1, &party.key, party.alpn)?,
        TlsStream::Server(stream) => tls::session(stream.get_ref().1, &party.key, party.alpn)?,
    };
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(TlsError::Random)?;
    let (machine, first) = Machine::start(party.settings.clone(), session, nonce);
    let mut opening = Opening { machine, party, peer: None };
    let outcome = opening.run(&mut stream, first).await;
    if let Err(ChannelError::Violation(violation)) = &outcome
        && let Some(refusal) = violation.refusal()
    {
        // The peer may be gone already; this side has its own error to report.
        let _ = stream.write_all(&refusal.frame().encode()).await;
        let _ = stream.shutdown().await;
    }
    let peer = outcome?;
    Ok(VerifiedChannel { stream, peer })
}

struct Opening<'a, A, J: Judge> {
    machine: Machine,
    party: &'a Party<A, J>,
    /// What was judged of the peer; it counts once the machine says that the channel is open.
    peer: Option<J::Peer>,
}

impl<A: Attester, J: Judge> Opening<'_, A, J> {
    async fn run<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        mut outputs: Vec<Output>,
    ) -> Result<J::Peer, ChannelError> {
        loop {
            let mut next = Vec::new();
            for output in std::mem::take(&mut outputs) {
                match output {
                    Output::Send(frame) => stream.write_all(&frame.encode()).await?,
                    Output::Open => {
                        stream.flush().await?;
                        return match self.peer.take() {
                            Some(peer) => Ok(peer),
                            // A client that proves nothing was asked for no verdict.
                            None => self.party.judge.unattested().map_err(ChannelError::Refused),
                        };
                    }
                    question => next.extend(self.answer(question, stream).await?),
                }
            }
            stream.flush().await?;
            outputs = match next.is_empty() {
                true => self.machine.frame(&read(stream).await?)?,
                false => next,
            };
        }
    }

    /// Does what the machine asks for.
    async fn answer<S: AsyncWrite + Unpin>(
        &mut self,
        question: Output,
        stream: &mut S,
    ) -> Result<Vec<Output>, ChannelError> {
        let verdict = match question {
            Output::Prove(binding) => {
                let proof = self.party.attester.prove(&binding).await;
                let frame =
                    proof.and_then(|proof| proof.frame().map_err(|error| error.to_string()));
                return Ok(self.machine.proved(frame.map_err(ChannelError::NoProof)?)?);
            }
            Output::Sign(signed) => {
                let proof = self.party.attester.sign(&signed).await;
                let frame = proof.map_err(ChannelError::NoProof)?.frame();
                return Ok(self.machine.proved(frame)?);
            }
            Output::Judge { proof, binding } => match Proof::decode(&proof) {
                Ok(proof) => self.party.judge.judge(proof, &binding).await,
                Err(error) => {
                    let code = protocol::channel::RefusalCode::Protocol;
                    Err(Refusal::new(code, &error.to_string()))
                }
            },
            Output::JudgeOwner { proof, signed } => {
                self.party.judge.judge_owner(proof, &signed).await
            }
            Output::Send(_) | Output::Open => return Ok(Vec::new()),
        };
        match verdict {
            Ok(peer) => {
                self.peer = Some(peer);
                Ok(self.machine.judged(Ok(()))?)
            }
            Err(refusal) => {
                for output in self.machine.judged(Err(refusal.clone()))? {
                    if let Output::Send(frame) = output {
                        stream.write_all(&frame.encode()).await?;
                    }
                }
                stream.flush().await?;
                Err(ChannelError::Refused(refusal))
            }
        }
    }
}

/// One frame; its length is judged before its payload is read.
async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Frame, ChannelError> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).await?;
    let (kind, length) = Frame::header(header)?;
    let mut payload = Vec::new();
    // Grown as bytes come: a stated length alone takes no memory.
    (&mut *stream).take(length as u64).read_to_end(&mut payload).await?;
    if payload.len() < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(Frame { kind, payload })
}
