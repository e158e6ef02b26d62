//! Calls over a channel: `prpc` in protobuf, or documents, over HTTP/1.1, one at a time, on the
//! connection that was verified and on no other.

use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use protocol::kms::KmsService;
use protocol::prpc::{self, Arguments, Encoding, ErrorBody, Message, PrpcError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::VerifiedChannel;

/// Largest answer: a page of a ledger, or a policy with its signatures.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// How long one call may take: a quorum must agree, and a disk must write.
const WITHIN: Duration = Duration::from_secs(60);
/// The name that HTTP wants of a server; the channel has proved who it is.
const NAME: &str = "dstyx.invalid";

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// the connection
    #[error("the connection broke")]
    Connection(#[from] hyper::Error),
    /// the answer is too large, or broke off
    #[error("the answer cannot be read: {0}")]
    Body(String),
    /// the peer refuses
    #[error("refused: {text}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The peer's reason, for a person.
        text: String,
    },
    /// the answer is no such message
    #[error("the answer")]
    Answer(#[from] PrpcError),
    /// a path that cannot be one
    #[error("{0:?} is no path")]
    Path(String),
    /// time is up
    #[error("no answer within {} s", WITHIN.as_secs())]
    Late,
}

/// The client's end of a channel, with what is known of its peer.
#[derive(Debug)]
pub struct Caller<P> {
    peer: P,
    sender: SendRequest<Full<Bytes>>,
    connection: JoinHandle<()>,
}

impl<P> Caller<P> {
    /// Begins to speak HTTP on a channel.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn over<S>(channel: VerifiedChannel<P, S>) -> Result<Self, CallError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (peer, stream) = channel.into_parts();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(async move {
            // How it ended, the next call says.
            let _ = connection.await;
        });
        Ok(Self { peer, sender, connection })
    }

    /// What is known of the peer.
    pub fn peer(&self) -> &P {
        &self.peer
    }

    /// Whether the connection has ended, so that another channel is needed.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Makes one call.
    ///
    /// # Errors
    /// If the connection breaks, the peer refuses, or its answer is not the message.
    pub async fn call<A: Message, R: Message>(
        &mut self,
        service: KmsService,
        method: &str,
        arguments: &A,
    ) -> Result<R, CallError> {
        timeout(WITHIN, self.ask(service, method, arguments)).await.unwrap_or(Err(CallError::Late))
    }

    /// Asks for a document by its path and query. A refusal is an answer too, with its status.
    ///
    /// # Errors
    /// If the connection breaks, or no answer begins in time.
    pub async fn get(&mut self, target: &str) -> Result<Document<'_>, CallError> {
        let request = Request::get(target).header(HOST, NAME).body(Full::default());
        let request = request.map_err(|_| CallError::Path(target.to_owned()))?;
        let begun = async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        };
        let answer = timeout(WITHIN, begun).await.map_err(|_| CallError::Late)??;
        let status = answer.status().as_u16();
        Ok(Document { status, body: answer.into_body(), caller: PhantomData })
    }

    async fn ask<A: Message, R: Message>(
        &mut self,
        service: KmsService,
        method: &str,
        arguments: &A,
    ) -> Result<R, CallError> {
        let body = prpc::encode(arguments, Encoding::Protobuf);
        let request = Request::post(format!("/prpc/{}.{method}", service.name()))
            .header(HOST, NAME)
            .header(CONTENT_TYPE, Encoding::Protobuf.content_type())
            .body(Full::new(Bytes::from(body)))
            .expect("a path of names and constant headers");
        self.sender.ready().await?;
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| CallError::Body(error.to_string()))?.to_bytes();
        if status != StatusCode::OK {
            let error: ErrorBody = Arguments::Body(Encoding::Protobuf, &body).decode()?;
            let text = error.error.chars().filter(|letter| !letter.is_control()).collect();
            return Err(CallError::Refused { status: status.as_u16(), text });
        }
        R::decode(&body[..]).map_err(|error| PrpcError::Arguments(error.to_string()).into())
    }
}

/// An answer that is being received, in pieces; the caller takes no other call meanwhile. How long
/// it may become is for its reader to bound.
#[derive(Debug)]
pub struct Document<'a> {
    status: u16,
    body: Incoming,
    caller: PhantomData<&'a mut ()>,
}

impl Document<'_> {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CallError> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(piece) = frame?.into_data() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }
}

impl<P> Drop for Caller<P> {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
