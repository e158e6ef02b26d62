//! Carries bytes both ways between a client and an app until both have ended, or time is up.
//!
//! Either side may end its half while the other goes on. A relay that carries nothing keeps no
//! buffer: bytes are read where they can be written at once, and only what the other side does not
//! take is held, at most one read.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

/// Bytes of one read: as many as a record of TLS holds.
const READ_BYTES: usize = 16 << 10;
/// Reads of one way before others have their turn.
const MAX_READS: usize = 16;

/// How a relay ended.
#[derive(Debug)]
pub enum Ended {
    /// Both sides have ended.
    Both,
    /// A side broke off.
    Broken(io::Error),
    /// Nothing was carried for too long.
    Idle,
    /// It lasted as long as a relay may.
    Total,
}

/// Bytes that were carried.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// From the client to the app.
    pub up: u64,
    /// From the app to the client.
    pub down: u64,
}

/// Carries bytes until the end.
pub async fn relay<C, A>(
    client: &mut C,
    app: &mut A,
    idle: Duration,
    total: Duration,
) -> (Ended, Carried)
where
    C: AsyncRead + AsyncWrite + Unpin,
    A: AsyncRead + AsyncWrite + Unpin,
{
    let begun = Instant::now();
    let (mut up, mut down) = (Way::new(begun), Way::new(begun));
    let mut quiet = pin!(sleep_until(begun + idle));
    let mut over = pin!(sleep_until(begun + total));
    let ended = poll_fn(|cx| {
        let mut ended = 0;
        for polled in [up.poll(cx, client, app), down.poll(cx, app, client)] {
            match polled {
                Poll::Ready(Ok(())) => ended += 1,
                Poll::Ready(Err(error)) => return Poll::Ready(Ended::Broken(error)),
                Poll::Pending => {}
            }
        }
        if ended == 2 {
            return Poll::Ready(Ended::Both);
        }
        if over.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ended::Total);
        }
        while quiet.as_mut().poll(cx).is_ready() {
            let until = up.last.max(down.last) + idle;
            if until <= Instant::now() {
                return Poll::Ready(Ended::Idle);
            }
            quiet.as_mut().reset(until);
        }
        Poll::Pending
    })
    .await;
    (ended, Carried { up: up.carried, down: down.carried })
}

/// What one way does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It carries.
    Open,
    /// Its reader has ended, which its writer is to be told.
    Ending,
    /// Nothing more.
    Ended,
}

struct Way {
    state: State,
    /// What was read and the writer has not taken yet.
    held: Vec<u8>,
    /// How much of that it has taken.
    taken: usize,
    /// Whether the writer may hold bytes back.
    unflushed: bool,
    carried: u64,
    last: Instant,
}

impl Way {
    fn new(now: Instant) -> Self {
        let (held, taken) = (Vec::new(), 0);
        Self { state: State::Open, held, taken, unflushed: false, carried: 0, last: now }
    }

    /// Ready once this way has ended; an error where the reader broke off.
    fn poll<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
    ) -> Poll<io::Result<()>> {
        for _ in 0..MAX_READS {
            let wrote = match self.state {
                State::Ended => return Poll::Ready(Ok(())),
                State::Ending => ready!(Pin::new(&mut *writer).poll_shutdown(cx)).map(|()| {
                    self.last = Instant::now();
                    self.state = State::Ended;
                }),
                State::Open => match ready!(self.poll_write(cx, writer)) {
                    Ok(()) => {
                        ready!(self.poll_read(cx, reader, writer))?;
                        continue;
                    }
                    Err(error) => Err(error),
                },
            };
            if wrote.is_err() {
                // The writer takes no more, but what it sent before may still be under way: only
                // this way ends.
                self.state = State::Ended;
                self.held = Vec::new();
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what is held.
    fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut W,
    ) -> Poll<io::Result<()>> {
        while self.taken < self.held.len() {
            let written = ready!(Pin::new(&mut *writer).poll_write(cx, &self.held[self.taken..]))?;
            self.wrote(written)?;
            self.taken += written;
        }
        if !self.held.is_empty() {
            (self.held, self.taken) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once, and writes as much of that as the writer takes at once.
    fn poll_read<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
    ) -> Poll<io::Result<()>> {
        let mut space = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut read = ReadBuf::uninit(&mut space);
        let Poll::Ready(outcome) = Pin::new(reader).poll_read(cx, &mut read) else {
            if self.unflushed && Pin::new(writer).poll_flush(cx).is_ready() {
                self.unflushed = false;
            }
            return Poll::Pending;
        };
        outcome?;
        let mut rest = read.filled();
        if rest.is_empty() {
            self.state = State::Ending;
        }
        while !rest.is_empty() {
            match Pin::new(&mut *writer).poll_write(cx, rest) {
                Poll::Ready(Ok(written)) if self.wrote(written).is_ok() => rest = &rest[written..],
                // A writer that fails says so again at the next write.
                Poll::Ready(_) | Poll::Pending => break,
            }
        }
        if !rest.is_empty() {
            self.held = rest.to_vec();
        }
        Poll::Ready(Ok(()))
    }

    fn wrote(&mut self, bytes: usize) -> io::Result<()> {
        if bytes == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.carried += bytes as u64;
        self.unflushed = true;
        self.last = Instant::now();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
