//! One bounded reader for hostile little-endian bytes; every binary decoder of the project goes
//! through it.

/// Why bytes ended where a field was expected, or did not end where they had to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// the bytes end inside a field
    #[error("{field}: {wanted} bytes expected at offset {offset}, {left} left")]
    Truncated {
        /// The field that was being read.
        field: &'static str,
        /// Where it starts.
        offset: usize,
        /// Its length.
        wanted: usize,
        /// What is left.
        left: usize,
    },
    /// bytes remain after the last field
    #[error("{left} bytes left over at offset {offset}")]
    Trailing {
        /// First superfluous byte.
        offset: usize,
        /// How many.
        left: usize,
    },
}

/// Walks over a byte slice; never panics, never reads twice.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// Bytes consumed so far.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Bytes not yet consumed.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.offset
    }

    /// The next `length` bytes.
    pub fn take(&mut self, field: &'static str, length: usize) -> Result<&'a [u8], ReadError> {
        let rest = &self.bytes[self.offset..];
        let taken = rest.get(..length).ok_or(ReadError::Truncated {
            field,
            offset: self.offset,
            wanted: length,
            left: rest.len(),
        })?;
        self.offset += length;
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], ReadError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(field, N)?);
        Ok(array)
    }

    /// One byte.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, ReadError> {
        Ok(self.array::<1>(field)?[0])
    }

    /// A little-endian `u16`.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, ReadError> {
        self.array(field).map(u16::from_le_bytes)
    }

    /// A little-endian `u32`.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, ReadError> {
        self.array(field).map(u32::from_le_bytes)
    }

    /// A little-endian `u64`.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, ReadError> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.offset..];
        self.offset = self.bytes.len();
        rest
    }

    /// Refuses leftovers.
    pub fn finish(self) -> Result<(), ReadError> {
        match self.left() {
            0 => Ok(()),
            left => Err(ReadError::Trailing { offset: self.offset, left }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_field_names_itself_and_leftovers_are_refused() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u16("version"), Ok(0x0201));
        let truncated = ReadError::Truncated { field: "length", offset: 2, wanted: 4, left: 1 };
        assert_eq!(reader.u32("length"), Err(truncated));
        assert_eq!(reader.finish(), Err(ReadError::Trailing { offset: 2, left: 1 }));
    }
}
