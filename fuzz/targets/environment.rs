//! Envelopes of environments, of both forms. What is read is written back as it was; nothing opens
//! that was not sealed for this app and file; and what was sealed opens to the same variables.
#![no_main]

use environment::{open, open_dstack, seal};
use libfuzzer_sys::fuzz_target;
use protocol::digest::{AppId, ComposeHash};
use protocol::environment::{Envelope, MAX_VARIABLES, is_name};

/// That of the seeds, which no mutation can seal for.
const SECRET: [u8; 32] = [0x42; 32];
const PUBLIC_KEY: &str = "132c442be010fbd57e72603328aa76e71fccc1503aae219327d14d9c9993f472";
const APP: AppId = AppId([0xaa; 20]);
const FILE: ComposeHash = ComposeHash([0xcc; 32]);

fuzz_target!(|bytes: &[u8]| {
    let opened = match Envelope::parse(bytes) {
        Ok(envelope) => {
            assert_eq!(envelope.to_bytes(), bytes);
            open(&envelope, &SECRET, APP, FILE)
        }
        Err(_) => open_dstack(bytes, &SECRET),
    };
    let Ok(variables) = opened else { return };
    assert!(variables.iter().count() <= MAX_VARIABLES);
    assert!(variables.iter().all(|(name, value)| is_name(name) && !value.contains('\0')));
    let mut public_key = [0; 32];
    hex::decode_to_slice(PUBLIC_KEY, &mut public_key).expect("32 bytes of hex");
    let again = seal(&variables, &public_key, APP, FILE, 1).expect("it was within its bounds");
    assert_eq!(open(&again, &SECRET, APP, FILE).as_ref(), Ok(&variables));
    assert!(open(&again, &SECRET, APP, ComposeHash([0; 32])).is_err());
});
