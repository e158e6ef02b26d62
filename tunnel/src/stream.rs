//! A tunnel on a connection, and its streams as streams of bytes.
//!
//! One task moves a tunnel's frames. Streams are read and written by others, which share the state
//! behind a lock that is held for no longer than a copy.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::num::NonZeroU16;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

use crate::mux::{Event, Mux, Read, Side, Violation, Write};

/// Bytes of one read of the connection: as many as a record of TLS holds.
const READ_BYTES: usize = 16 << 10;
/// Reads before the task lets others have their turn.
const MAX_READS: usize = 16;
/// How often a quiet peer is asked whether it is there. It also keeps tables of addresses alive.
pub const ASK_AFTER: Duration = Duration::from_secs(20);
/// How long a peer may be silent: three questions without an answer.
pub const SILENT_WITHIN: Duration = Duration::from_secs(60);

/// Why a tunnel ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// the connection broke
    #[error("the connection broke")]
    Io(#[from] io::Error),
    /// the peer ended it
    #[error("the peer ended the connection")]
    Peer,
    /// the peer broke a rule
    #[error("the peer broke a rule")]
    Violation(#[from] Violation),
    /// the peer is silent
    #[error("the peer was silent for {} s", SILENT_WITHIN.as_secs())]
    Silent,
    /// this side closed it
    #[error("this side closed it")]
    Closed,
}

#[derive(Debug, Default)]
struct Wakers {
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Wakers {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

#[derive(Debug)]
struct Inner {
    mux: Mux,
    wakers: BTreeMap<u32, Wakers>,
    task: Option<Waker>,
    closed: bool,
}

impl Inner {
    fn wake_task(&mut self) {
        if self.mux.has_waiting()
            && let Some(waker) = self.task.take()
        {
            waker.wake();
        }
    }

    fn wake_all(&mut self) {
        self.wakers.values_mut().for_each(Wakers::wake);
    }

    fn wakers_of(&mut self, id: u32) -> &mut Wakers {
        self.wakers.entry(id).or_default()
    }
}

/// One side of a tunnel; its copies are the same one.
#[derive(Debug, Clone)]
pub struct Tunnel(Arc<Mutex<Inner>>);

/// One stream. Dropped before both sides have ended, it breaks off for the peer.
#[derive(Debug)]
pub struct TunnelStream {
    tunnel: Tunnel,
    id: u32,
}

impl Tunnel {
    /// A side without streams, whose task is [`Self::run`].
    pub fn new(side: Side) -> Self {
        let (wakers, task, closed) = (BTreeMap::new(), None, false);
        Self(Arc::new(Mutex::new(Inner { mux: Mux::new(side), wakers, task, closed })))
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        // A change of the state is whole, whatever panicked elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the tunnel: its task ends, and all its streams break off.
    pub fn close(&self) {
        let mut inner = self.locked();
        inner.closed = true;
        if let Some(waker) = inner.task.take() {
            waker.wake();
        }
    }

    /// Streams that somebody holds.
    pub fn streams(&self) -> usize {
        self.locked().mux.streams()
    }

    /// Opens a stream to a port of the guest; it is open once the guest has connected it.
    ///
    /// # Errors
    /// If the tunnel is full or has ended, or the guest refuses.
    pub async fn open(&self, port: NonZeroU16) -> io::Result<TunnelStream> {
        let id = {
            let mut inner = self.locked();
            if inner.closed {
                return Err(io::ErrorKind::NotConnected.into());
            }
            let full = || io::Error::new(io::ErrorKind::QuotaExceeded, "the tunnel is full");
            let id = inner.mux.open(port).ok_or_else(full)?;
            inner.wake_task();
            id
        };
        let stream = TunnelStream { tunnel: self.clone(), id };
        let connected = poll_fn(|cx| {
            let mut inner = stream.tunnel.locked();
            match inner.mux.is_connected(id) {
                Some(connected) => Poll::Ready(connected),
                None => {
                    inner.wakers_of(id).reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        });
        if connected.await { Ok(stream) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
    }

    /// Says that a stream's port is connected.
    pub fn connect(&self, stream: &TunnelStream) {
        let mut inner = self.locked();
        inner.mux.connect(stream.id);
        inner.wake_task();
    }

    /// Says whether this guest's app is ready.
    pub fn say_ready(&self, ready: bool) {
        let mut inner = self.locked();
        inner.mux.say_ready(ready);
        inner.wake_task();
    }

    /// Shows the peer what this side's KMS says of it now; gives whether it was taken.
    pub fn say_statement(&self, statement: &[u8]) -> bool {
        let mut inner = self.locked();
        let taken = inner.mux.say_statement(statement);
        inner.wake_task();
        taken
    }

    /// Moves frames until the end. A gateway's peer says whether it is ready; a guest's peer opens
    /// streams, each of which is to be connected, or dropped. Both show statements, which are to be
    /// judged.
    pub async fn run<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut connection: S,
        mut ready: impl FnMut(bool),
        mut opened: impl FnMut(TunnelStream, NonZeroU16),
        mut stated: impl FnMut(Vec<u8>),
    ) -> Ended {
        let _end = End(self);
        let now = Instant::now();
        let mut task = Task { frames: Vec::new(), written: 0, unflushed: false, heard: now };
        let mut asks = pin!(sleep_until(now + ASK_AFTER));
        let mut happened = |event| match event {
            Event::Ready(is) => ready(is),
            Event::Opened(id, port) => opened(TunnelStream { tunnel: self.clone(), id }, port),
            Event::Statement(statement) => stated(statement),
            Event::Stream(_) => {}
        };
        poll_fn(|cx| {
            while asks.as_mut().poll(cx).is_ready() {
                if task.heard.elapsed() >= SILENT_WITHIN {
                    return Poll::Ready(Ended::Silent);
                }
                self.locked().mux.ping();
                asks.as_mut().reset(Instant::now() + ASK_AFTER);
            }
            if let Poll::Ready(ended) = task.poll_read(self, cx, &mut connection, &mut happened) {
                return Poll::Ready(ended);
            }
            match task.poll_write(self, cx, &mut connection) {
                Poll::Ready(ended) => Poll::Ready(ended),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}

/// Streams learn of the end, however the task ends.
struct End<'a>(&'a Tunnel);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let mut inner = self.0.locked();
        inner.closed = true;
        inner.mux.break_off();
        inner.wake_all();
    }
}

/// The task's own part of the state.
struct Task {
    /// Frames that are being written, and how much of them is.
    frames: Vec<u8>,
    written: usize,
    unflushed: bool,
    /// When the peer was heard.
    heard: Instant,
}

impl Task {
    /// Reads until nothing is there; ready at the tunnel's end only.
    fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        tunnel: &Tunnel,
        cx: &mut Context<'_>,
        connection: &mut S,
        happened: &mut impl FnMut(Event),
    ) -> Poll<Ended> {
        for _ in 0..MAX_READS {
            let mut space = [const { MaybeUninit::uninit() }; READ_BYTES];
            let mut read = ReadBuf::uninit(&mut space);
            if let Err(error) = ready!(Pin::new(&mut *connection).poll_read(cx, &mut read)) {
                return Poll::Ready(error.into());
            }
            if read.filled().is_empty() {
                return Poll::Ready(Ended::Peer);
            }
            self.heard = Instant::now();
            // What the holders of the tunnel are told may lock it again.
            let mut events = Vec::new();
            let received = {
                let mut inner = tunnel.locked();
                let Inner { mux, wakers, .. } = &mut *inner;
                mux.receive(read.filled(), |event| match event {
                    Event::Stream(id) => {
                        if let Some(wakers) = wakers.get_mut(&id) {
                            wakers.wake();
                        }
                    }
                    other => events.push(other),
                })
            };
            events.into_iter().for_each(&mut *happened);
            if let Err(violation) = received {
                return Poll::Ready(violation.into());
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what waits; ready at the tunnel's end only.
    fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        tunnel: &Tunnel,
        cx: &mut Context<'_>,
        connection: &mut S,
    ) -> Poll<Ended> {
        loop {
            {
                let mut inner = tunnel.locked();
                if inner.closed {
                    return Poll::Ready(Ended::Closed);
                }
                inner.task = Some(cx.waker().clone());
                if self.written == self.frames.len() {
                    (self.frames, self.written) = (inner.mux.take_waiting(), 0);
                    if !self.frames.is_empty() {
                        // There is room again.
                        inner.wake_all();
                    }
                }
            }
            if self.frames.is_empty() {
                if self.unflushed {
                    match ready!(Pin::new(&mut *connection).poll_flush(cx)) {
                        Ok(()) => self.unflushed = false,
                        Err(error) => return Poll::Ready(error.into()),
                    }
                }
                return Poll::Pending;
            }
            let rest = &self.frames[self.written..];
            match ready!(Pin::new(&mut *connection).poll_write(cx, rest)) {
                Ok(0) => return Poll::Ready(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(count) => (self.written, self.unflushed) = (self.written + count, true),
                Err(error) => return Poll::Ready(error.into()),
            }
        }
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut inner = self.tunnel.locked();
        match inner.mux.read(self.id, buf.initialize_unfilled()) {
            Read::Bytes(count) => {
                inner.wake_task();
                drop(inner);
                buf.advance(count);
                Poll::Ready(Ok(()))
            }
            Read::End => Poll::Ready(Ok(())),
            Read::Reset => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Read::Wait => {
                inner.wakers_of(self.id).reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.tunnel.locked();
        match inner.mux.write(self.id, buf) {
            Write::Taken(count) => {
                inner.wake_task();
                Poll::Ready(Ok(count))
            }
            Write::Closed => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Write::Wait => {
                inner.wakers_of(self.id).writer = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    // The tunnel's task flushes what it has written.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.tunnel.locked();
        inner.mux.end(self.id);
        inner.wake_task();
        Poll::Ready(Ok(()))
    }
}

impl Drop for TunnelStream {
    fn drop(&mut self) {
        let mut inner = self.tunnel.locked();
        inner.mux.leave(self.id);
        inner.wakers.remove(&self.id);
        inner.wake_task();
    }
}
