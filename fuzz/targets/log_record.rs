//! A container's log file, whose texts the container chose: what is read as a record is written as
//! the same line, and a text that looks like one makes none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::log_record::{End, MAX_RECORD_BYTES, MAX_TEXT_BYTES, Record, text};

fuzz_target!(|bytes: &[u8]| {
    let mut rewritten = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(record) = Record::parse(line) else { continue };
        let mut written = Vec::new();
        record.write(&mut written);
        assert!(written.len() <= MAX_RECORD_BYTES);
        assert_eq!(written.strip_suffix(b"\n"), Some(line.strip_suffix(b"\n").unwrap_or(line)));
        assert_eq!(Record::parse(&written), Some(record));
        rewritten.extend(written);
    }
    assert_eq!(text(&rewritten), text(bytes));
    // The same bytes as a container prints them: one record for each of its lines.
    let mut log = Vec::new();
    let mut printed = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| line.len() <= MAX_TEXT_BYTES) {
        let begin = Record::parse(b"1796000000.000000001 oF ").expect("the head of a record");
        let record = Record { end: End::Line, text: line, ..begin };
        record.write(&mut log);
        printed.extend_from_slice(line);
        printed.push(b'\n');
    }
    assert_eq!(text(&log), printed);
});
