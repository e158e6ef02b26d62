//! Frames of a tunnel: eight bytes, then a payload.
//!
//! ```text
//! kind (1) | zero (1) | bytes of the payload (2) | stream (4) | payload
//! ```
//!
//! Numbers are big-endian. Stream 0 is the tunnel itself.

/// Bytes before the payload.
pub const HEAD_BYTES: usize = 8;
/// Largest payload of data: as many bytes as a record of TLS holds.
pub const MAX_DATA_BYTES: usize = 16 << 10;
/// Largest payload of a statement: the largest release statement that there is.
pub const MAX_STATEMENT_BYTES: usize = 16 << 10;

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// an unknown kind
    #[error("kind {0} of a frame, known are 1 to 10")]
    Kind(u8),
    /// a reserved byte that is not zero
    #[error("the second byte of a frame is {0}, it must be 0")]
    Reserved(u8),
    /// a payload of another length
    #[error("a frame of kind {kind:?} has {found} bytes")]
    Length {
        /// The kind.
        kind: Kind,
        /// Bytes stated.
        found: usize,
    },
    /// a stream where none belongs, or none where one does
    #[error("a frame of kind {kind:?} is of stream {stream}")]
    Stream {
        /// The kind.
        kind: Kind,
        /// The stream stated.
        stream: u32,
    },
}

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The gateway opens a stream to a port.
    Open = 1,
    /// The guest has connected the port.
    Connected = 2,
    /// Bytes of a stream.
    Data = 3,
    /// So many more bytes may be sent.
    Credit = 4,
    /// The sender sends nothing more.
    End = 5,
    /// The stream breaks off, or was not opened.
    Reset = 6,
    /// The guest says whether its app is ready.
    Ready = 7,
    /// Is the other side there?
    Ping = 8,
    /// It is.
    Pong = 9,
    /// What the sender's KMS says of it now.
    Statement = 10,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [
            Self::Open,
            Self::Connected,
            Self::Data,
            Self::Credit,
            Self::End,
            Self::Reset,
            Self::Ready,
            Self::Ping,
            Self::Pong,
            Self::Statement,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }

    /// Whether a payload may have so many bytes.
    fn fits(self, bytes: usize) -> bool {
        match self {
            Self::Open => bytes == 2,
            Self::Data => (1..=MAX_DATA_BYTES).contains(&bytes),
            Self::Statement => (1..=MAX_STATEMENT_BYTES).contains(&bytes),
            Self::Credit => bytes == 4,
            Self::Ready => bytes == 1,
            Self::Connected | Self::End | Self::Reset | Self::Ping | Self::Pong => bytes == 0,
        }
    }

    /// Whether it is of the tunnel itself.
    fn is_of_tunnel(self) -> bool {
        matches!(self, Self::Ready | Self::Ping | Self::Pong | Self::Statement)
    }
}

/// The first bytes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// What it is for.
    pub kind: Kind,
    /// The stream; 0 is the tunnel itself.
    pub stream: u32,
    /// Bytes of the payload.
    pub bytes: usize,
}

impl Head {
    /// Reads the first bytes of a frame.
    ///
    /// # Errors
    /// If they are none.
    pub fn decode(bytes: [u8; HEAD_BYTES]) -> Result<Self, FrameError> {
        let [kind, reserved, high, low, stream @ ..] = bytes;
        let kind = Kind::of(kind).ok_or(FrameError::Kind(kind))?;
        if reserved != 0 {
            return Err(FrameError::Reserved(reserved));
        }
        let (stream, found) = (u32::from_be_bytes(stream), u16::from_be_bytes([high, low]).into());
        if !kind.fits(found) {
            return Err(FrameError::Length { kind, found });
        }
        if kind.is_of_tunnel() != (stream == 0) {
            return Err(FrameError::Stream { kind, stream });
        }
        Ok(Self { kind, stream, bytes: found })
    }

    /// The bytes.
    pub fn encode(self) -> [u8; HEAD_BYTES] {
        let [.., high, low] = self.bytes.to_be_bytes();
        let [first, second, third, fourth] = self.stream.to_be_bytes();
        [self.kind as u8, 0, high, low, first, second, third, fourth]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_has_one_spelling_and_its_kind_s_length() {
        let head = Head { kind: Kind::Data, stream: 0x0102_0304, bytes: 0x0506 };
        assert_eq!(head.encode(), [3, 0, 5, 6, 1, 2, 3, 4]);
        assert_eq!(Head::decode(head.encode()), Ok(head));
        assert_eq!(Head::decode([0; 8]), Err(FrameError::Kind(0)));
        assert_eq!(Head::decode([11, 0, 0, 0, 0, 0, 0, 1]), Err(FrameError::Kind(11)));
        assert_eq!(Head::decode([5, 1, 0, 0, 0, 0, 0, 1]), Err(FrameError::Reserved(1)));
        let rows = [
            (1, 1),
            (2, 1),
            (3, 0),
            (3, 16385),
            (4, 5),
            (5, 1),
            (7, 0),
            (8, 8),
            (10, 0),
            (10, 16385),
        ];
        for (kind, wrong) in rows {
            let [high, low] = u16::to_be_bytes(wrong);
            let error = Head::decode([kind, 0, high, low, 0, 0, 0, u8::from(kind < 7)]);
            assert!(matches!(error, Err(FrameError::Length { .. })), "{kind} {wrong}");
        }
        for bytes in [[5, 0, 0, 0, 0, 0, 0, 0], [8, 0, 0, 0, 0, 0, 0, 1]] {
            assert!(matches!(Head::decode(bytes), Err(FrameError::Stream { .. })));
        }
    }
}
