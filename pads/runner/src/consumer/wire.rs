//! Frames over a stream, with a deadline on the side that waits for a stranger.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use pad_run::frames::{self, Frame, FrameError, HEAD_BYTES};
use zeroize::Zeroizing;

/// Sends and receives frames.
pub(super) struct Wire<S> {
    stream: S,
}

impl<S: Read + Write> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream }
    }

    pub(super) fn send<F: Frame>(&mut self, frame: &F) -> Result<(), WireError> {
        self.stream.write_all(&frames::encode(frame)).map_err(WireError::of)
    }

    /// Allocates no more than the longest frame of its kind.
    pub(super) fn receive<F: Frame>(&mut self) -> Result<F, WireError> {
        let mut head = [0; HEAD_BYTES];
        self.stream.read_exact(&mut head).map_err(WireError::of)?;
        let mut body = Zeroizing::new(vec![0; frames::body_bytes::<F>(head)?]);
        self.stream.read_exact(&mut body).map_err(WireError::of)?;
        Ok(frames::decode(head, &body)?)
    }
}

/// A stream that ends at a deadline, however slowly the other side reads or writes.
pub(super) struct Timed {
    stream: UnixStream,
    deadline: Instant,
}

impl Timed {
    pub(super) fn new(stream: UnixStream, deadline: Instant) -> Self {
        Self { stream, deadline }
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

impl Read for Timed {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(bytes)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// the deadline passed
    #[error("the deadline passed")]
    Deadline,
    /// the other side is gone
    #[error("the other side closed the connection")]
    Closed,
    /// the stream failed
    #[error("stream: {0}")]
    Stream(io::Error),
    /// bytes that are no frame
    #[error(transparent)]
    Frame(#[from] FrameError),
}

impl WireError {
    fn of(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::Deadline,
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset => Self::Closed,
            _ => Self::Stream(error),
        }
    }
}
