//! Bytes, texts and lists in frames: each behind its length in 4 bytes, little-endian, and within a
//! budget.

use protocol::reader::Reader;

use crate::fault::FrameError;

/// Appends bytes behind their length.
pub fn put(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend((bytes.len() as u32).to_le_bytes());
    to.extend(bytes);
}

/// Appends a list behind the number of its items.
pub fn put_many<T>(to: &mut Vec<u8>, items: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
    to.extend((items.len() as u32).to_le_bytes());
    items.iter().for_each(|item| write(to, item));
}

/// Appends whether something is there, and what.
pub fn put_option<T>(to: &mut Vec<u8>, item: Option<&T>, write: impl Fn(&mut Vec<u8>, &T)) {
    to.push(u8::from(item.is_some()));
    if let Some(item) = item {
        write(to, item);
    }
}

/// Reads bytes.
///
/// # Errors
/// If they are longer than `most`, or not there.
pub fn bytes(
    reader: &mut Reader<'_>,
    field: &'static str,
    most: usize,
) -> Result<Vec<u8>, FrameError> {
    let length = reader.u32(field)? as usize;
    if length > most {
        return Err(FrameError::Budget { field, found: length, most });
    }
    Ok(reader.take(field, length)?.to_vec())
}

/// Reads a text.
///
/// # Errors
/// If it is longer than `most` bytes, not there, or no UTF-8.
pub fn text(
    reader: &mut Reader<'_>,
    field: &'static str,
    most: usize,
) -> Result<String, FrameError> {
    String::from_utf8(bytes(reader, field, most)?).map_err(|_| FrameError::Text(field))
}

/// Reads a list. It grows with what is there, never with what a count states.
///
/// # Errors
/// If it has more than `most` items, or one of them is none.
pub fn many<T>(
    reader: &mut Reader<'_>,
    field: &'static str,
    most: usize,
    read: impl Fn(&mut Reader<'_>) -> Result<T, FrameError>,
) -> Result<Vec<T>, FrameError> {
    let count = reader.u32(field)? as usize;
    if count > most {
        return Err(FrameError::Budget { field, found: count, most });
    }
    (0..count).map(|_| read(reader)).collect()
}

/// Reads what may be there.
///
/// # Errors
/// If the flag is neither 0 nor 1, or what is there is none.
pub fn option<T>(
    reader: &mut Reader<'_>,
    field: &'static str,
    read: impl Fn(&mut Reader<'_>) -> Result<T, FrameError>,
) -> Result<Option<T>, FrameError> {
    match reader.u8(field)? {
        0 => Ok(None),
        1 => read(reader).map(Some),
        found => Err(FrameError::Flag { field, found }),
    }
}
