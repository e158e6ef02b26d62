//! JSON from the attacker: bounded in bytes, UTF-8, no NUL anywhere, no duplicate and no unknown
//! key, nothing after the value.
//!
//! Depth is bounded by serde_json's own recursion limit (128). Unknown keys are refused by the
//! target types (`deny_unknown_fields`), as are duplicate keys of structs; maps use [`unique_map`].

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor};

/// Why a JSON document was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// larger than its budget
    #[error("{found} bytes, at most {limit} are accepted")]
    TooLarge {
        /// Bytes present.
        found: usize,
        /// Bytes accepted.
        limit: usize,
    },
    /// a NUL character, plain or escaped
    #[error("a NUL character at byte {offset}")]
    Nul {
        /// Offset of the character.
        offset: usize,
    },
    /// not the document that was expected: message with key, line and column
    #[error("{0}")]
    Malformed(String),
}

/// Parses `bytes` as a `T`, at most `limit` bytes long.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, JsonError> {
    if bytes.len() > limit {
        return Err(JsonError::TooLarge { found: bytes.len(), limit });
    }
    if let Some(offset) = find_nul(bytes) {
        return Err(JsonError::Nul { offset });
    }
    serde_json::from_slice(bytes).map_err(|error| JsonError::Malformed(error.to_string()))
}

/// Deserialises a map whose keys must be distinct (serde's own keeps the last silently).
pub fn unique_map<'de, D, V>(deserializer: D) -> Result<BTreeMap<String, V>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    struct Unique<V>(PhantomData<V>);

    impl<'de, V: Deserialize<'de>> Visitor<'de> for Unique<V> {
        type Value = BTreeMap<String, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map with distinct keys")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((key, value)) = access.next_entry::<String, V>()? {
                if map.contains_key(&key) {
                    return Err(A::Error::custom(format_args!("duplicate key `{key}`")));
                }
                map.insert(key, value);
            }
            Ok(map)
        }
    }

    deserializer.deserialize_map(Unique(PhantomData))
}

/// A plain NUL byte, or the escape of one that is not itself part of an escaped backslash.
fn find_nul(bytes: &[u8]) -> Option<usize> {
    let mut offset = 0;
    while offset < bytes.len() {
        match bytes[offset] {
            0 => return Some(offset),
            b'\\' if bytes[offset..].starts_with(b"\\u0000") => return Some(offset),
            b'\\' => offset += 2,
            _ => offset += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_is_found_plain_and_escaped_but_not_after_an_escaped_backslash() {
        assert_eq!(parse::<String>(b"\"a\\u0000\"", 64), Err(JsonError::Nul { offset: 2 }));
        assert_eq!(parse::<String>(b"\"a\0\"", 64), Err(JsonError::Nul { offset: 2 }));
        assert_eq!(parse::<String>(br#""\\u0000""#, 64), Ok(r"\u0000".to_owned()));
    }

    #[test]
    fn size_trailing_bytes_and_duplicate_keys_are_refused() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Map(#[serde(deserialize_with = "unique_map")] BTreeMap<String, u8>);

        assert_eq!(parse::<u8>(b"  1", 2), Err(JsonError::TooLarge { found: 3, limit: 2 }));
        assert!(matches!(parse::<u8>(b"1 2", 9), Err(JsonError::Malformed(_))));
        let duplicate = parse::<Map>(br#"{"a":1,"a":2}"#, 64);
        assert!(
            matches!(duplicate, Err(JsonError::Malformed(text)) if text.contains("duplicate key `a`"))
        );
    }
}
