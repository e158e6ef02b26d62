//! Quotes: one that is accepted is accepted with zero bytes behind it, with nothing else, and not
//! cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::quote::{self, Quote};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(exact) = quote::without_padding(bytes) {
        assert!(bytes.starts_with(exact) && bytes[exact.len()..].iter().all(|byte| *byte == 0));
        assert_eq!(Quote::parse(exact), Quote::parse_padded(bytes));
    }
    let Ok(accepted) = Quote::parse(bytes) else { return };
    assert!(matches!(accepted.version, 4 | 5));
    assert!(bytes.ends_with(&accepted.signature_data));
    assert!(Quote::parse(&bytes[..bytes.len() - 1]).is_err());
    let behind = |byte: u8| [bytes, &[byte]].concat();
    if bytes.len() < quote::MAX_BYTES {
        assert_eq!(Quote::parse_padded(&behind(0)), Ok(accepted));
        assert!(Quote::parse_padded(&behind(1)).is_err());
    }
});
