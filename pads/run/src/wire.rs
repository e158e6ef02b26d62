//! Frames over a stream of the caller.

use std::io::{self, Read, Write};

use zeroize::Zeroizing;

use crate::frames::{self, Frame, FrameError, HEAD_BYTES};

/// Sends and receives frames.
pub struct Wire<S> {
    stream: S,
}

impl<S: Read + Write> Wire<S> {
    /// Frames over this stream.
    pub fn new(stream: S) -> Self {
        Self { stream }
    }

    /// The stream, for what goes beside frames.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// If it is longer than its receiver takes, or the stream fails.
    pub fn send<F: Frame>(&mut self, frame: &F) -> Result<(), WireError> {
        let bytes = frames::encode(frame);
        if let Some((head, body)) = bytes.split_first_chunk() {
            let expected = frames::body_bytes::<F>(*head)?;
            if body.len() != expected {
                return Err(FrameError::Body { found: body.len(), expected }.into());
            }
        }
        self.stream.write_all(&bytes).map_err(WireError::of)
    }

    /// Receives a frame; allocates no more than the longest one of its kind.
    ///
    /// # Errors
    /// If what comes is none, or the stream fails.
    pub fn receive<F: Frame>(&mut self) -> Result<F, WireError> {
        let mut head = [0; HEAD_BYTES];
        self.stream.read_exact(&mut head).map_err(WireError::of)?;
        let mut body = Zeroizing::new(vec![0; frames::body_bytes::<F>(head)?]);
        self.stream.read_exact(&mut body).map_err(WireError::of)?;
        Ok(frames::decode(head, &body)?)
    }
}

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
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
    /// What an error of the stream means.
    pub fn of(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::Deadline,
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset => Self::Closed,
            _ => Self::Stream(error),
        }
    }
}
