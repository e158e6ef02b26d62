//! dstack's `prpc`: a method's name in the path, its arguments in the body as JSON or protobuf, its
//! answer in the same encoding.
//!
//! What programs of dstack's SDKs send and expect. As there, fields that are absent have their
//! default and fields that nobody knows are passed over: an SDK may be newer than the guest. Bytes
//! are hexadecimal in JSON. Source: dstack, `ra-rpc`, and the crate `prpc` 0.6.

pub mod guest;
pub(crate) mod hex_bytes;
mod messages;

pub use messages::*;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest request: what an app has signed or hashed is the largest of it. dstack takes ten times
/// as much; whoever has more hashes it first.
pub const MAX_REQUEST_BYTES: usize = 1 << 20;
/// Longest text of an error: it repeats what a client sent.
const MAX_ERROR_BYTES: usize = 512;
/// Keys of a query that one message can have, nesting included.
const MAX_QUERY_DEPTH: usize = 2;

/// How a call is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// JSON, in the request and in the answer.
    Json,
    /// Protobuf, in both.
    Protobuf,
}

impl Encoding {
    /// The content type of an answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/octet-stream",
        }
    }
}

/// Arguments as they were sent.
#[derive(Debug, Clone, Copy)]
pub enum Arguments<'a> {
    /// A body.
    Body(Encoding, &'a [u8]),
    /// The query of a GET, still percent-encoded; the answer is JSON.
    Query(&'a str),
}

impl Arguments<'_> {
    /// The encoding of the answer.
    pub fn encoding(&self) -> Encoding {
        match self {
            Self::Body(encoding, _) => *encoding,
            Self::Query(_) => Encoding::Json,
        }
    }

    /// A message; an empty body is one whose fields all have their defaults.
    pub fn decode<M: Message>(&self) -> Result<M, PrpcError> {
        let bytes = match self {
            Self::Body(_, bytes) => *bytes,
            Self::Query(query) => query.as_bytes(),
        };
        match (self, bytes.len()) {
            (_, 0) => Ok(M::default()),
            (_, found) if found > MAX_REQUEST_BYTES => Err(PrpcError::TooLarge { found }),
            (Self::Body(Encoding::Json, _), _) => serde_json::from_slice(bytes).map_err(arguments),
            (Self::Body(Encoding::Protobuf, _), _) => M::decode(bytes).map_err(arguments),
            (Self::Query(_), _) => serde_qs::Config::new()
                .max_depth(MAX_QUERY_DEPTH)
                .deserialize_bytes(bytes)
                .map_err(arguments),
        }
    }
}

/// A message that is known in both encodings.
pub trait Message: prost::Message + Default + Serialize + DeserializeOwned {}

impl<M: prost::Message + Default + Serialize + DeserializeOwned> Message for M {}

/// A message's bytes. JSON is ASCII, because a client of dstack counts characters where it should
/// count bytes.
pub fn encode<M: Message>(message: &M, encoding: Encoding) -> Vec<u8> {
    match encoding {
        Encoding::Json => ascii(
            &serde_json::to_string(message).expect("messages hold strings, numbers and booleans"),
        ),
        Encoding::Protobuf => message.encode_to_vec(),
    }
}

/// The body of a refusal: `{"error": …}`, or a message whose first field is the text.
pub fn encode_error(text: &str, encoding: Encoding) -> Vec<u8> {
    let error = shortened(text, MAX_ERROR_BYTES).to_owned();
    encode(&ErrorBody { error }, encoding)
}

/// Why a call was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrpcError {
    /// no such method on this socket
    #[error("Service not found: {0}")] // dstack's words, which clients look for
    NotFound(String),
    /// a body beyond its budget
    #[error("payload too large: {found} bytes, at most {MAX_REQUEST_BYTES} are accepted")]
    TooLarge {
        /// Bytes present.
        found: usize,
    },
    /// not the arguments of the method
    #[error("arguments: {0}")]
    Arguments(String),
}

fn arguments(error: impl std::fmt::Display) -> PrpcError {
    PrpcError::Arguments(shortened(&error.to_string(), MAX_ERROR_BYTES).to_owned())
}

/// As much of `text` as fits `limit` bytes.
pub(crate) fn shortened(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

/// The same JSON without other characters than ASCII: those stand in strings only, where they can
/// be escaped.
fn ascii(json: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(json.len());
    for c in json.chars() {
        match u8::try_from(c) {
            Ok(byte) if byte.is_ascii() => bytes.push(byte),
            _ => bytes.extend(
                c.encode_utf16(&mut [0; 2])
                    .iter()
                    .flat_map(|unit| format!("\\u{unit:04x}").into_bytes()),
            ),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json<M: Message>(text: &str) -> Result<M, PrpcError> {
        Arguments::Body(Encoding::Json, text.as_bytes()).decode()
    }

    #[test]
    fn the_three_ways_to_say_the_same_are_the_same() {
        let expected =
            GetKeyArgs { path: "a b".into(), algorithm: "k256".into(), ..GetKeyArgs::default() };
        assert_eq!(json(r#"{"path":"a b","algorithm":"k256","newer":[1]}"#), Ok(expected.clone()));
        let bytes = [b"\x0a\x03a b\x1a\x04k256".as_slice(), b"\x9a\x06\x00"].concat();
        assert_eq!(Arguments::Body(Encoding::Protobuf, &bytes).decode(), Ok(expected.clone()));
        assert_eq!(Arguments::Query("path=a%20b&algorithm=k256&json").decode(), Ok(expected));
    }

    #[test]
    fn lists_numbers_and_truths_are_read_from_a_query() {
        let read: GetTlsKeyArgs =
            Arguments::Query("alt_names[0]=a&alt_names[1]=b&usage_ra_tls=true&not_after=7")
                .decode()
                .unwrap();
        assert_eq!(
            (read.alt_names, read.usage_ra_tls, read.not_after),
            (vec!["a".into(), "b".into()], true, Some(7))
        );
        assert!(Arguments::Query("path[a][b][c]=1").decode::<GetKeyArgs>().is_err());
    }

    #[test]
    fn bytes_are_hex_with_or_without_a_mark() {
        for text in [r#"{"report_data":"0a0B"}"#, r#"{"report_data":"0x0a0b"}"#] {
            assert_eq!(json(text), Ok(RawQuoteArgs { report_data: vec![10, 11] }));
        }
        assert!(json::<RawQuoteArgs>(r#"{"report_data":"0"}"#).is_err());
        let key = GetKeyResponse { key: vec![1], signature_chain: vec![vec![2], vec![]] };
        let text = encode(&key, Encoding::Json);
        assert_eq!(text, br#"{"key":"01","signature_chain":["02",""]}"#);
        assert_eq!(Arguments::Body(Encoding::Json, &text).decode(), Ok(key));
    }

    #[test]
    fn an_answer_in_json_is_ascii() {
        let info = AppInfo { app_name: "a\u{e4}\u{1f512}\"".into(), ..AppInfo::default() };
        let text = encode(&info, Encoding::Json);
        assert!(text.is_ascii());
        assert_eq!(Arguments::Body(Encoding::Json, &text).decode(), Ok(info));
    }

    #[test]
    fn refusals_are_short_in_both_encodings() {
        assert_eq!(encode_error("no", Encoding::Json), br#"{"error":"no"}"#);
        assert_eq!(encode_error("no", Encoding::Protobuf), b"\x0a\x02no");
        let huge = format!(r#"{{"path":["{}"]}}"#, "\u{e4}".repeat(9999));
        let Err(PrpcError::Arguments(text)) = json::<GetKeyArgs>(&huge) else { panic!() };
        assert!(text.len() <= MAX_ERROR_BYTES);
        assert_eq!(
            json::<GetKeyArgs>(&" ".repeat(MAX_REQUEST_BYTES + 1)),
            Err(PrpcError::TooLarge { found: MAX_REQUEST_BYTES + 1 })
        );
    }
}
