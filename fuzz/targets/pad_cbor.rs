//! The CBOR of Pads: metadata, policies and attributes, enrolments, updates and signed runs. What
//! is accepted is written in exactly this one way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pad_format::enrolment::SignedEnrolment;
use pad_format::run::SignedRun;
use pad_format::update::SignedUpdate;
use pad_format::{Contents, Metadata};

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    match kind {
        0 => {
            if let Ok(metadata) = Metadata::parse(bytes) {
                assert_eq!(metadata.to_bytes(), bytes);
            }
        }
        1 => contents(bytes),
        2 => {
            if let Ok(enrolment) = SignedEnrolment::parse(bytes) {
                assert_eq!(enrolment.to_bytes(), bytes);
            }
        }
        3 => {
            if let Ok(update) = SignedUpdate::parse(bytes) {
                assert_eq!(update.to_bytes(), bytes);
            }
        }
        _ => {
            if let Ok(run) = SignedRun::parse(bytes) {
                assert_eq!(run.to_bytes(), bytes);
            }
        }
    }
});

/// Metadata behind their length in a byte, and the contents of a Pad that has them.
fn contents(bytes: &[u8]) {
    let Some((&length, bytes)) = bytes.split_first() else { return };
    let Some((metadata, bytes)) = bytes.split_at_checked(length.into()) else { return };
    let Ok(metadata) = Metadata::parse(metadata) else { return };
    if let Ok(contents) = Contents::parse(bytes, &metadata) {
        assert_eq!(contents.to_bytes(&metadata).as_deref(), Ok(bytes));
    }
}
