//! The one spelling of each value.

use alloc::vec::Vec;

use crate::reader::Kind;

/// Appends items, each in its shortest form. Keys of maps are written as unsigned items, in
/// ascending order; whoever writes them otherwise is refused by every reader.
#[derive(Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Starts with nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// An unsigned integer, or the key of a map.
    pub fn uint(&mut self, value: u64) -> &mut Self {
        self.head(Kind::Uint, value)
    }

    /// A byte string.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.head(Kind::Bytes, value.len() as u64);
        self.bytes.extend_from_slice(value);
        self
    }

    /// A text.
    pub fn text(&mut self, value: &str) -> &mut Self {
        self.head(Kind::Text, value.len() as u64);
        self.bytes.extend_from_slice(value.as_bytes());
        self
    }

    /// A truth value.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.head(Kind::Bool, 20 + u64::from(value))
    }

    /// The start of an array of this many items.
    pub fn array(&mut self, items: usize) -> &mut Self {
        self.head(Kind::Array, items as u64)
    }

    /// The start of a map of this many pairs.
    pub fn map(&mut self, pairs: usize) -> &mut Self {
        self.head(Kind::Map, pairs as u64)
    }

    /// What was written.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn head(&mut self, kind: Kind, argument: u64) -> &mut Self {
        let major = kind.major() << 5;
        let bytes = argument.to_be_bytes();
        match argument {
            0..=23 => self.bytes.push(major | bytes[7]),
            24..=0xff => self.bytes.extend_from_slice(&[major | 24, bytes[7]]),
            0x100..=0xffff => self.wide(major | 25, &bytes[6..]),
            0x1_0000..=0xffff_ffff => self.wide(major | 26, &bytes[4..]),
            _ => self.wide(major | 27, &bytes),
        }
        self
    }

    fn wide(&mut self, initial: u8, argument: &[u8]) {
        self.bytes.push(initial);
        self.bytes.extend_from_slice(argument);
    }
}
