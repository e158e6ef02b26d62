//! A reader that takes the one spelling of each value, and what its caller expects, and nothing
//! else.

use core::fmt;
use core::ops::RangeInclusive;

/// The types that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An unsigned integer of up to 64 bits.
    Uint,
    /// A byte string.
    Bytes,
    /// A text in UTF-8.
    Text,
    /// An array.
    Array,
    /// A map with unsigned keys.
    Map,
    /// A truth value.
    Bool,
}

impl Kind {
    /// The three bits before an item's argument (RFC 8949, section 3.1).
    pub(crate) fn major(self) -> u8 {
        match self {
            Self::Uint => 0,
            Self::Bytes => 2,
            Self::Text => 3,
            Self::Array => 4,
            Self::Map => 5,
            Self::Bool => 7,
        }
    }

    fn of_major(major: u8) -> Option<Self> {
        [Self::Uint, Self::Bytes, Self::Text, Self::Array, Self::Map, Self::Bool]
            .into_iter()
            .find(|kind| kind.major() == major)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uint => "an unsigned integer",
            Self::Bytes => "a byte string",
            Self::Text => "a text",
            Self::Array => "an array",
            Self::Map => "a map",
            Self::Bool => "a truth value",
        })
    }
}

/// Why bytes are not the one spelling of what is expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// the bytes end inside an item
    #[error("{field}: the bytes end inside the item at offset {offset}")]
    Truncated {
        /// What was being read.
        field: &'static str,
        /// Where it starts.
        offset: usize,
    },
    /// another type than expected
    #[error(
        "{field}: {expected} is expected at offset {offset}, found the initial byte {found:#04x}"
    )]
    Type {
        /// What was being read.
        field: &'static str,
        /// Where it starts.
        offset: usize,
        /// What it has to be.
        expected: Kind,
        /// The item's first byte.
        found: u8,
    },
    /// a number or length that has a shorter form
    #[error("{field}: the number at offset {offset} has a shorter form")]
    NotShortest {
        /// What was being read.
        field: &'static str,
        /// Where it starts.
        offset: usize,
    },
    /// an indefinite length or a reserved form
    #[error(
        "{field}: the initial byte {found:#04x} at offset {offset} is an indefinite length or reserved"
    )]
    Form {
        /// What was being read.
        field: &'static str,
        /// Where it starts.
        offset: usize,
        /// The item's first byte.
        found: u8,
    },
    /// a number, or a count of bytes or items, outside of its legal range
    #[error("{field}: {found} at offset {offset}, {least} to {most} are accepted")]
    Range {
        /// What was being read.
        field: &'static str,
        /// Where it starts.
        offset: usize,
        /// The number.
        found: u64,
        /// The least legal one.
        least: u64,
        /// The greatest legal one.
        most: u64,
    },
    /// a text that is not UTF-8
    #[error("{field}: the text at offset {offset} is not UTF-8")]
    Utf8 {
        /// What was being read.
        field: &'static str,
        /// Where it starts.
        offset: usize,
    },
    /// a key that is unknown, out of order or there twice, or stands where another one is missing
    #[error("{field}: key {expected} is expected at offset {offset}, found {found}")]
    Key {
        /// The map.
        field: &'static str,
        /// Where the key is.
        offset: usize,
        /// The key that has to come.
        expected: u64,
        /// The key that is there.
        found: u64,
    },
    /// a map that ends before a key that it must have
    #[error("{field}: key {expected} is missing at offset {offset}")]
    Missing {
        /// The map.
        field: &'static str,
        /// Where the map ends.
        offset: usize,
        /// The key.
        expected: u64,
    },
    /// a map with more pairs than are known
    #[error("{field}: {left} pairs at offset {offset} have unknown keys, or are there twice")]
    Unknown {
        /// The map.
        field: &'static str,
        /// Where they start.
        offset: usize,
        /// How many.
        left: u64,
    },
    /// bytes behind the last item
    #[error("{left} bytes left over at offset {offset}")]
    Trailing {
        /// The first of them.
        offset: usize,
        /// How many.
        left: usize,
    },
}

/// Reads all of the bytes: what `read` takes of them, and nothing is left behind.
///
/// # Errors
/// Those of `read`, or if there are bytes behind what it took.
pub fn read_whole<'a, T, E: From<CborError>>(
    bytes: &'a [u8],
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, E>,
) -> Result<T, E> {
    let mut reader = Reader::new(bytes);
    let whole = read(&mut reader)?;
    reader.finish()?;
    Ok(whole)
}

/// Walks over bytes; never panics, never allocates.
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

    /// The type of the next item, which is not consumed.
    ///
    /// # Errors
    /// If there is none, or it is of a type that does not occur.
    pub fn kind(&self, field: &'static str) -> Result<Kind, CborError> {
        let offset = self.offset;
        let found = *self.bytes.get(offset).ok_or(CborError::Truncated { field, offset })?;
        Kind::of_major(found >> 5).ok_or(CborError::Form { field, offset, found })
    }

    /// An unsigned integer.
    ///
    /// # Errors
    /// If the next item is none, or out of the range.
    pub fn uint(
        &mut self,
        field: &'static str,
        legal: RangeInclusive<u64>,
    ) -> Result<u64, CborError> {
        self.bounded(field, Kind::Uint, &legal)
    }

    /// A byte string whose length is in the range.
    ///
    /// # Errors
    /// If the next item is none, or its length is out of the range.
    pub fn bytes(
        &mut self,
        field: &'static str,
        legal: RangeInclusive<usize>,
    ) -> Result<&'a [u8], CborError> {
        self.string(field, Kind::Bytes, &legal)
    }

    /// A byte string of exactly this length.
    ///
    /// # Errors
    /// If the next item is none, or has another length.
    pub fn fixed<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], CborError> {
        let mut fixed = [0; N];
        fixed.copy_from_slice(self.bytes(field, N..=N)?);
        Ok(fixed)
    }

    /// A text whose length in bytes is in the range.
    ///
    /// # Errors
    /// If the next item is none, its length is out of the range, or it is not UTF-8.
    pub fn text(
        &mut self,
        field: &'static str,
        legal: RangeInclusive<usize>,
    ) -> Result<&'a str, CborError> {
        let offset = self.offset;
        let bytes = self.string(field, Kind::Text, &legal)?;
        core::str::from_utf8(bytes).map_err(|_| CborError::Utf8 { field, offset })
    }

    /// A truth value.
    ///
    /// # Errors
    /// If the next item is none.
    pub fn bool(&mut self, field: &'static str) -> Result<bool, CborError> {
        let offset = self.offset;
        match self.head(field, Kind::Bool)? {
            20 => Ok(false),
            21 => Ok(true),
            _ => Err(CborError::Form { field, offset, found: self.bytes[offset] }),
        }
    }

    /// The start of an array; gives the number of its items.
    ///
    /// # Errors
    /// If the next item is none, or has a number of items out of the range.
    pub fn array(
        &mut self,
        field: &'static str,
        legal: RangeInclusive<usize>,
    ) -> Result<usize, CborError> {
        self.count(field, Kind::Array, &legal)
    }

    /// The start of a map.
    ///
    /// # Errors
    /// If the next item is none.
    pub fn map(&mut self, field: &'static str) -> Result<Map, CborError> {
        Ok(Map { field, left: self.head(field, Kind::Map)? })
    }

    /// Refuses bytes behind the last item.
    ///
    /// # Errors
    /// If there are any.
    pub fn finish(self) -> Result<(), CborError> {
        match self.bytes.len() - self.offset {
            0 => Ok(()),
            left => Err(CborError::Trailing { offset: self.offset, left }),
        }
    }

    fn bounded(
        &mut self,
        field: &'static str,
        kind: Kind,
        legal: &RangeInclusive<u64>,
    ) -> Result<u64, CborError> {
        let offset = self.offset;
        let found = self.head(field, kind)?;
        if legal.contains(&found) {
            return Ok(found);
        }
        let (least, most) = (*legal.start(), *legal.end());
        Err(CborError::Range { field, offset, found, least, most })
    }

    fn count(
        &mut self,
        field: &'static str,
        kind: Kind,
        legal: &RangeInclusive<usize>,
    ) -> Result<usize, CborError> {
        let legal = *legal.start() as u64..=*legal.end() as u64;
        let found = self.bounded(field, kind, &legal)?;
        Ok(usize::try_from(found).expect("the greatest legal count is a usize"))
    }

    fn string(
        &mut self,
        field: &'static str,
        kind: Kind,
        legal: &RangeInclusive<usize>,
    ) -> Result<&'a [u8], CborError> {
        let offset = self.offset;
        let length = self.count(field, kind, legal)?;
        self.take(length).ok_or(CborError::Truncated { field, offset })
    }

    /// The argument of the next item, which has to be of this type.
    fn head(&mut self, field: &'static str, expected: Kind) -> Result<u64, CborError> {
        let offset = self.offset;
        let truncated = CborError::Truncated { field, offset };
        let &[initial] = self.take(1).ok_or(truncated.clone())? else { return Err(truncated) };
        if initial >> 5 != expected.major() {
            return Err(CborError::Type { field, offset, expected, found: initial });
        }
        let (width, least) = match initial & 0x1f {
            short @ 0..=23 => return Ok(u64::from(short)),
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            _ => return Err(CborError::Form { field, offset, found: initial }),
        };
        let argument = self.take(width).ok_or(truncated)?;
        let argument = argument.iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
        if argument < least {
            return Err(CborError::NotShortest { field, offset });
        }
        Ok(argument)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.offset..)?.get(..length)?;
        self.offset += length;
        Some(taken)
    }
}

/// A map that is being read. Its keys are asked for in ascending order, so that a key out of order
/// or there twice is met as one that does not belong where it stands.
#[derive(Debug)]
#[must_use = "a map has to be ended, or unknown keys are accepted"]
pub struct Map {
    field: &'static str,
    left: u64,
}

impl Map {
    /// Goes to the value of a key that has to be there.
    ///
    /// # Errors
    /// If another one comes, or none.
    pub fn required(&mut self, reader: &mut Reader<'_>, expected: u64) -> Result<(), CborError> {
        let offset = reader.offset();
        let Some(found) = self.next(reader)? else {
            return Err(CborError::Missing { field: self.field, offset, expected });
        };
        if found != expected {
            return Err(CborError::Key { field: self.field, offset, expected, found });
        }
        Ok(())
    }

    /// Goes to the value of a key if it comes next.
    ///
    /// # Errors
    /// If the next key is no unsigned integer.
    pub fn optional(&mut self, reader: &mut Reader<'_>, key: u64) -> Result<bool, CborError> {
        let mut ahead = reader.clone();
        let before = self.left;
        if self.next(&mut ahead)? == Some(key) {
            *reader = ahead;
            return Ok(true);
        }
        self.left = before;
        Ok(false)
    }

    /// Refuses pairs that were not asked for.
    ///
    /// # Errors
    /// If there are any.
    pub fn end(self, reader: &Reader<'_>) -> Result<(), CborError> {
        match self.left {
            0 => Ok(()),
            left => Err(CborError::Unknown { field: self.field, offset: reader.offset(), left }),
        }
    }

    fn next(&mut self, reader: &mut Reader<'_>) -> Result<Option<u64>, CborError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        let key = reader.uint(self.field, 0..=u64::MAX)?;
        self.left = left;
        Ok(Some(key))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::Writer;

    fn uint(bytes: &[u8]) -> Result<u64, CborError> {
        let mut reader = Reader::new(bytes);
        let number = reader.uint("number", 0..=u64::MAX)?;
        reader.finish().map(|()| number)
    }

    #[test]
    fn numbers_are_those_of_rfc_8949_appendix_a() {
        for (number, bytes) in [
            (0, &[0x00][..]),
            (23, &[0x17]),
            (24, &[0x18, 0x18]),
            (100, &[0x18, 0x64]),
            (1000, &[0x19, 0x03, 0xe8]),
            (1_000_000, &[0x1a, 0x00, 0x0f, 0x42, 0x40]),
            (1_000_000_000_000, &[0x1b, 0x00, 0x00, 0x00, 0xe8, 0xd4, 0xa5, 0x10, 0x00]),
            (u64::MAX, &[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ] {
            let mut writer = Writer::new();
            writer.uint(number);
            assert_eq!(writer.finish(), bytes);
            assert_eq!(uint(bytes), Ok(number));
        }
    }

    #[test]
    fn a_longer_form_of_the_same_number_is_refused() {
        for bytes in [
            &[0x18, 0x17][..],
            &[0x19, 0x00, 0xff],
            &[0x1a, 0x00, 0x00, 0xff, 0xff],
            &[0x1b, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff],
        ] {
            let refused = Err(CborError::NotShortest { field: "number", offset: 0 });
            assert_eq!(uint(bytes), refused, "{bytes:x?}");
        }
    }

    #[test]
    fn indefinite_and_reserved_forms_and_other_types_are_refused() {
        for initial in [0x1c, 0x1d, 0x1e, 0x1f] {
            let refused = CborError::Form { field: "number", offset: 0, found: initial };
            assert_eq!(uint(&[initial, 0, 0]), Err(refused));
        }
        let string = Reader::new(&[0x5f, 0x41, 0x00, 0xff]).bytes("text", 0..=9).unwrap_err();
        assert_eq!(string, CborError::Form { field: "text", offset: 0, found: 0x5f });
        // A negative number, a tag, a float and null.
        for initial in [0x20, 0xc0, 0xf9, 0xf6] {
            let bytes = [initial, 0, 0];
            assert!(matches!(uint(&bytes), Err(CborError::Type { .. })), "{initial:x}");
            assert!(Reader::new(&bytes).bool("flag").is_err());
        }
        assert!(Reader::new(&[0x20]).kind("value").is_err());
        assert_eq!(Reader::new(&[0xf5]).bool("flag"), Ok(true));
    }

    #[test]
    fn a_claimed_length_reserves_nothing_and_is_checked_against_its_range_first() {
        let huge = [0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        let refused = Reader::new(&huge).bytes("value", 0..=16).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "value: 9223372036854775807 at offset 0, 0 to 16 are accepted"
        );
        let array = Reader::new(&[0x9a, 0xff, 0xff, 0xff, 0xff]).array("list", 0..=4).unwrap_err();
        assert!(matches!(array, CborError::Range { found: 0xffff_ffff, .. }));
        let short = Reader::new(&[0x45, 1, 2]).bytes("value", 0..=16).unwrap_err();
        assert_eq!(short, CborError::Truncated { field: "value", offset: 0 });
    }

    /// Reads a map with the keys 1, 3 (which may be missing) and 7.
    fn keys(bytes: &[u8]) -> Result<bool, CborError> {
        let mut reader = Reader::new(bytes);
        let mut map = reader.map("map")?;
        map.required(&mut reader, 1)?;
        reader.bool("one")?;
        let three = map.optional(&mut reader, 3)?;
        if three {
            reader.bool("three")?;
        }
        map.required(&mut reader, 7)?;
        reader.bool("seven")?;
        map.end(&reader)?;
        reader.finish().map(|()| three)
    }

    #[test]
    fn keys_are_in_order_known_and_there_once() {
        const T: u8 = 0xf5;
        assert_eq!(keys(&[0xa2, 1, T, 7, T]), Ok(false));
        assert_eq!(keys(&[0xa3, 1, T, 3, T, 7, T]), Ok(true));
        for bytes in [
            &[0xa3, 1, T, 1, T, 7, T][..], // twice
            &[0xa2, 7, T, 1, T],           // out of order
            &[0xa3, 3, T, 1, T, 7, T],     // out of order
            &[0xa1, 1, T],                 // missing
            &[0xa3, 1, T, 7, T, 8, T],     // unknown at the end
            &[0xa3, 1, T, 4, T, 7, T],     // unknown in the middle
            &[0xa3, 1, T, 7, T, 7, T],     // the last one twice
            &[0xa2, 1, T, 7, T, 0],        // bytes behind it
            &[0xa3, 1, T, 7, T],           // a count that is too large
            &[0xa2, 1, T, 0x61, b'a', T],  // a key that is a text
            &[0xa2, 1, T, 0x18, 7, T],     // a key in a longer form
            &[0xbf, 1, T, 7, T, 0xff],     // indefinite
        ] {
            assert!(keys(bytes).is_err(), "{bytes:x?}");
        }
    }

    #[test]
    fn a_text_is_utf_8() {
        assert_eq!(Reader::new(&[0x62, 0xc3, 0xbc]).text("name", 1..=4), Ok("ü"));
        let refused = Reader::new(&[0x62, 0xc3, 0x28]).text("name", 1..=4);
        assert_eq!(refused, Err(CborError::Utf8 { field: "name", offset: 0 }));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            number: u64,
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            text in ".{0,80}",
            flag: bool,
        ) {
            let mut writer = Writer::new();
            writer.array(4).uint(number).bytes(&bytes).text(&text).bool(flag);
            let written = writer.finish();
            let mut reader = Reader::new(&written);
            prop_assert_eq!(reader.array("list", 4..=4), Ok(4));
            prop_assert_eq!(reader.uint("number", 0..=u64::MAX), Ok(number));
            prop_assert_eq!(reader.bytes("bytes", 0..=300), Ok(&bytes[..]));
            prop_assert_eq!(reader.text("text", 0..=400), Ok(&text[..]));
            prop_assert_eq!(reader.bool("flag"), Ok(flag));
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = keys(&bytes);
            let _ = uint(&bytes);
            let _ = Reader::new(&bytes).kind("value");
            let _ = Reader::new(&bytes).text("name", 0..=64);
        }
    }
}
