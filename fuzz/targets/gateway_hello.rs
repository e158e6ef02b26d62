//! The first bytes of a client: however they are cut, the same name is read or none, and who is
//! refused gets an answer.
#![no_main]

use gateway_rules::budgets::MAX_HELLO_WIRE_BYTES;
use gateway_rules::hello::{Hello, HelloReader, HelloRefused};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes, bytes.len().max(1));
    let cut = read(bytes, 1 + bytes.len() % 61);
    match (whole, cut) {
        (Ok(Some(whole)), Ok(Some(cut))) => {
            assert_eq!((&whole.name, &whole.alpn), (&cut.name, &cut.alpn));
            for hello in [&whole, &cut] {
                assert!(bytes.starts_with(&hello.bytes) && hello.taken <= hello.bytes.len());
                // What is passed through says the same name to the app.
                let again = read(&hello.bytes, 4096).expect("it was read").expect("it was whole");
                assert_eq!(again.name, hello.name);
            }
        }
        (Ok(None), Ok(None)) => assert!(bytes.len() < MAX_HELLO_WIRE_BYTES),
        (Err(refused), _) | (_, Err(refused)) => {
            assert!(!refused.answer.is_empty());
            assert!(refused.answer[0] == 21 || refused.answer.starts_with(b"HTTP/1.1 400 "));
        }
        (whole, cut) => panic!("{whole:?} in one piece, {cut:?} in several"),
    }
});

fn read(bytes: &[u8], piece: usize) -> Result<Option<Hello>, HelloRefused> {
    let mut reader = HelloReader::default();
    for piece in bytes.chunks(piece) {
        if let Some(hello) = reader.push(piece)? {
            return Ok(Some(hello));
        }
    }
    Ok(None)
}
