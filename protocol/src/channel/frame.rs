//! Frames: one byte of kind, a little-endian length of four bytes, the payload.

use super::budgets::MAX_PROOF_BYTES;

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 5;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Roles and nonce of a side; the first frame of each.
    Hello = 1,
    /// Evidence for the binding of this connection.
    Proof = 2,
    /// In the place of a proof: the client has no evidence.
    Unattested = 3,
    /// In the place of a proof: the client signs with an owner's key.
    Owner = 4,
    /// The peer's proof was accepted.
    Accepted = 5,
    /// The sender ends the connection, and says why.
    Refused = 6,
}

impl Kind {
    /// Largest payload; the length is judged before a byte of it is read.
    pub fn max_bytes(self) -> usize {
        match self {
            Self::Hello => 35,
            Self::Proof => MAX_PROOF_BYTES,
            Self::Unattested | Self::Accepted => 0,
            Self::Owner => 96,
            Self::Refused => 515,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Hello, Self::Proof, Self::Unattested, Self::Owner, Self::Accepted, Self::Refused]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// Why a header was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// kind {0} is unknown
    #[error("frame kind {0} is unknown")]
    Kind(u8),
    /// the payload is larger than its kind allows
    #[error("{kind:?}: a payload of {found} bytes, at most {} are accepted", kind.max_bytes())]
    TooLarge {
        /// The kind.
        kind: Kind,
        /// The stated length.
        found: u32,
    },
}

/// A kind and its payload.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The kind.
    pub kind: Kind,
    /// The payload, at most [`Kind::max_bytes`].
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame without a payload.
    pub fn empty(kind: Kind) -> Self {
        Self { kind, payload: Vec::new() }
    }

    /// Kind and length of the payload that follows a header.
    ///
    /// # Errors
    /// If the kind is unknown or the payload is longer than the kind allows.
    pub fn header(bytes: [u8; HEADER_BYTES]) -> Result<(Kind, usize), FrameError> {
        let [kind, length @ ..] = bytes;
        let kind = Kind::from_byte(kind).ok_or(FrameError::Kind(kind))?;
        let found = u32::from_le_bytes(length);
        match usize::try_from(found) {
            Ok(length) if length <= kind.max_bytes() => Ok((kind, length)),
            _ => Err(FrameError::TooLarge { kind, found }),
        }
    }

    /// The frame's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).expect("payloads have budgets below 4 GiB");
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.payload.len());
        bytes.push(self.kind as u8);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_judged_by_the_kind_before_anything_is_read() {
        assert_eq!(Frame::header([1, 35, 0, 0, 0]), Ok((Kind::Hello, 35)));
        let too_large = FrameError::TooLarge { kind: Kind::Hello, found: 36 };
        assert_eq!(Frame::header([1, 36, 0, 0, 0]), Err(too_large));
        assert_eq!(Frame::header([9, 0, 0, 0, 0]), Err(FrameError::Kind(9)));
        let huge = FrameError::TooLarge { kind: Kind::Proof, found: u32::MAX };
        assert_eq!(Frame::header([2, 0xff, 0xff, 0xff, 0xff]), Err(huge));
    }

    #[test]
    fn a_frame_is_its_header_and_its_payload() {
        let frame = Frame { kind: Kind::Owner, payload: vec![7; 96] };
        let bytes = frame.encode();
        let header = bytes[..HEADER_BYTES].try_into().unwrap();
        assert_eq!(Frame::header(header), Ok((Kind::Owner, 96)));
        assert_eq!(bytes[HEADER_BYTES..], frame.payload);
    }
}
