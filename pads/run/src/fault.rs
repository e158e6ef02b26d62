//! What is wrong with bytes that are to be a frame.

use protocol::reader::ReadError;

/// Why bytes are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// there is no such kind in this direction
    #[error("no frame has the kind {0}")]
    Kind(u8),
    /// a length that the kind does not have
    #[error("a frame of kind {kind} has a body of {found} bytes, not of {least} to {most}")]
    Length {
        /// The frame's kind.
        kind: u8,
        /// The length that it states.
        found: usize,
        /// The shortest.
        least: usize,
        /// The longest.
        most: usize,
    },
    /// another body than the head states
    #[error("the body has {found} bytes, the head states {expected}")]
    Body {
        /// Bytes that are there.
        found: usize,
        /// Bytes stated.
        expected: usize,
    },
    /// a value above its budget
    #[error("{field}: {found} is above {most}")]
    Budget {
        /// The field.
        field: &'static str,
        /// What it states.
        found: usize,
        /// The largest.
        most: usize,
    },
    /// a flag or the number of a kind that does not exist
    #[error("{field}: there is no kind {found}")]
    Flag {
        /// The field.
        field: &'static str,
        /// Its value.
        found: u8,
    },
    /// text that is no UTF-8
    #[error("{0} is no UTF-8")]
    Text(&'static str),
    /// an ending that does not exist
    #[error("no program ends with the code {0}")]
    Ending(u8),
    /// a value that is none of its kind
    #[error("{field}: {reason}")]
    Value {
        /// The field.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// a field that ends early, or bytes after the last one
    #[error(transparent)]
    Read(#[from] ReadError),
}
