//! What a gateway publishes about its keys: lines that are read are those that are written, each
//! behind the one before it; and windows in which an authority wants renewals.
#![no_main]

use gateway_domain::ari::{Window, renewal_secs};
use gateway_domain::certificate::Validity;
use gateway_domain::published::{Head, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(window) = Window::parse(bytes) {
        let validity = Validity { not_before_secs: 1_000, not_after_secs: 2_000 };
        assert!(renewal_secs(validity, Some(window), u64::MAX) <= 1_900, "it would expire");
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok((entries, head)) = read(text, None) else { return };
    let mut again = Head::EMPTY;
    for entry in &entries {
        let (line, next) = again.append(entry);
        let (read_again, _) = again.read(&line).expect("what is written is read");
        assert_eq!(&read_again, entry);
        again = next;
    }
    assert_eq!(again.lines, head.lines);
    assert_eq!(read(text, Some(head)).map(|(_, head)| head), Ok(head));
});
