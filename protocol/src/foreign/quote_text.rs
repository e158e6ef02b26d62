//! Quotes as text: hex in either case, with or without `0x`, or base64, as explorers and issue
//! reports show them.
//!
//! Text is taken for a quote only if it decodes to the first bytes of one, so that hex and base64
//! are never confused with each other or with another format.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::quote;

/// Longest text: hex of the largest quote, with zero bytes behind it and line ends in it.
const MAX_TEXT_BYTES: usize = 4 * quote::MAX_BYTES;

/// The quote that a text means, if it is hex or base64 of one; line ends may stand anywhere in it.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() > MAX_TEXT_BYTES || !text.is_ascii() {
        return None;
    }
    let plain: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let digits = plain.strip_prefix(b"0x").unwrap_or(&plain);
    let decoded = hex::decode(digits).ok().or_else(|| STANDARD.decode(&plain).ok())?;
    matches!(decoded[..], [3..=5, 0, ..]).then_some(decoded)
}

#[cfg(test)]
mod tests {
    use super::super::{Format, read};
    use super::*;

    const QUOTE: &[u8] = include_bytes!("../../../tests/vectors/protocol/tdx-v5-quote.bin");

    #[test]
    fn a_quote_is_read_the_same_from_bytes_hex_and_base64() {
        let bytes = read(QUOTE, &[]).unwrap();
        let wrapped = |text: &str| {
            let lines: Vec<_> = text.as_bytes().chunks(64).map(<[u8]>::to_vec).collect();
            String::from_utf8(lines.join(&b"\n"[..])).unwrap() + "\n"
        };
        let texts = [
            hex::encode(QUOTE),
            hex::encode_upper(QUOTE),
            format!("0x{}\r\n", hex::encode(QUOTE)),
            wrapped(&hex::encode(QUOTE)),
            STANDARD.encode(QUOTE),
            wrapped(&STANDARD.encode(QUOTE)),
        ];
        for text in texts {
            let read = read(text.as_bytes(), &[]).unwrap();
            assert_eq!(read.format, Format::RawQuote, "{}", &text[..20]);
            assert_eq!(read, bytes, "{}", &text[..20]);
        }
    }

    #[test]
    fn text_of_something_else_is_no_quote() {
        for text in ["", "hello", "0x", "06000200", "BgACAA==", "0400z", "040002"] {
            assert_eq!(decode(text.as_bytes()).is_some(), text == "040002", "{text}");
        }
    }
}
