//! HTTP/1.1 with every bound stated, on TCP and on unix sockets: each connection is a task that
//! cannot outlive its time.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::answer::Answer;

/// Bytes of one request's head: a request line and what browsers add. hyper takes no less.
const MAX_HEAD_BYTES: usize = 8192;
/// Headers of one request; browsers send about twenty.
const MAX_HEADERS: usize = 48;
/// How long an answer under way may take beyond that, which also ends those that do not read
/// theirs. A log that is followed lasts that long.
const ANSWER_WITHIN: Duration = Duration::from_secs(600);
/// Pause after an `accept` that failed, as it does while descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// How long a request's head may take, and how long a connection may stay idle.
    pub idle: Duration,
    /// How long a connection takes new requests.
    pub whole: Duration,
}

impl Bounds {
    /// For clients that nobody knows.
    pub const OF_STRANGERS: Self =
        Self { idle: Duration::from_secs(10), whole: Duration::from_secs(120) };
}

/// A server's content: it answers requests.
pub trait Answers: Send + Sync + 'static {
    /// One request's answer. A body that it does not read is not received.
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Answer> + Send;
}

/// A source of connections.
pub trait Listener {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one.
    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>>;
}

impl Listener for TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn next(&self) -> io::Result<Self::Stream> {
        let (stream, _) = self.accept().await?;
        // Answers are small and written whole: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }
}

impl Listener for UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn next(&self) -> io::Result<Self::Stream> {
        Ok(self.accept().await?.0)
    }
}

/// Serves until its task is ended. At most `max_connections` are open; further ones wait in the
/// kernel's queue.
pub async fn serve<L: Listener, A: Answers>(listener: L, answers: Arc<A>, max_connections: usize) {
    accept(listener, max_connections, move |stream| {
        let answers = Arc::clone(&answers);
        async move {
            // Over time or broken off by the client: there is nobody to tell.
            let _ = connection(stream, answers, Bounds::OF_STRANGERS).await;
        }
    })
    .await;
}

/// Takes connections until its task is ended, each into a task of its own; beyond
/// `max_connections` they wait in the kernel's queue.
pub async fn accept<L, F, Served>(listener: L, max_connections: usize, serve: F)
where
    L: Listener,
    F: Fn(L::Stream) -> Served,
    Served: Future<Output = ()> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(max_connections));
    loop {
        let place =
            Arc::clone(&permits).acquire_owned().await.expect("the semaphore is never closed");
        match listener.next().await {
            Ok(stream) => {
                let served = serve(stream);
                tokio::spawn(async move {
                    let _place = place;
                    served.await;
                });
            }
            Err(error) => {
                tracing::warn!("accept: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection until its time is over or the client ends it.
///
/// # Errors
/// If the client breaks the connection off, or speaks no HTTP.
pub async fn connection<A: Answers>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    answers: Arc<A>,
    bounds: Bounds,
) -> hyper::Result<()> {
    let answer = service_fn(move |request| {
        let answers = Arc::clone(&answers);
        async move { Ok::<_, Infallible>(answers.answer(request).await) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.idle)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), answer));
    if let Ok(ended) = timeout(bounds.whole, served.as_mut()).await {
        return ended;
    }
    served.as_mut().graceful_shutdown();
    timeout(ANSWER_WITHIN, served).await.unwrap_or(Ok(()))
}
