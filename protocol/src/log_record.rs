//! A line of a container's log file: when it was printed, on which stream, and how it ended.
//!
//! The container's helper writes records, the agent reads them. The text is the container's own
//! bytes, without the line break: `SECONDS.NANOSECONDS STREAM END TEXT`, as
//! `1796000000.000000001 oF text`. A container chooses the text only, so it cannot make a record of
//! its own.

use std::time::Duration;

/// Longest text of one record, as Docker has it: a longer line is several records.
pub const MAX_TEXT_BYTES: usize = 16 * 1024;
/// Digits of the seconds: enough until the year 2286.
const SECONDS_DIGITS: usize = 10;
/// Digits of the nanoseconds.
const NANOS_DIGITS: usize = 9;
/// Bytes before the text: both numbers, the dot, the marks and two spaces.
const HEAD_BYTES: usize = SECONDS_DIGITS + 1 + NANOS_DIGITS + 1 + 2 + 1;
/// Longest record with its line break.
pub const MAX_RECORD_BYTES: usize = HEAD_BYTES + MAX_TEXT_BYTES + 1;

/// A stream of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or the terminal.
    Out,
    /// Standard error.
    Error,
}

/// How the text of a record ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With a line break.
    Line,
    /// The line goes on in the stream's next record.
    Part,
    /// Without a line break: the container ended.
    Output,
}

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Since 1970.
    pub at: Duration,
    /// The stream that it was printed on.
    pub stream: Stream,
    /// How the text ends.
    pub end: End,
    /// What was printed, without its line break.
    pub text: &'a [u8],
}

impl<'a> Record<'a> {
    /// Adds the record's line to `to`.
    pub fn write(&self, to: &mut Vec<u8>) {
        let stream = match self.stream {
            Stream::Out => 'o',
            Stream::Error => 'e',
        };
        let end = match self.end {
            End::Line => 'F',
            End::Part => 'P',
            End::Output => 'E',
        };
        let (seconds, nanos) = (self.at.as_secs(), self.at.subsec_nanos());
        to.extend(
            format!("{seconds:0SECONDS_DIGITS$}.{nanos:0NANOS_DIGITS$} {stream}{end} ").bytes(),
        );
        to.extend_from_slice(self.text);
        to.push(b'\n');
    }

    /// Reads a record's line, with or without its line break; nothing if it is none.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let (head, text) = line.strip_suffix(b"\n").unwrap_or(line).split_at_checked(HEAD_BYTES)?;
        let (seconds, rest) = head.split_at(SECONDS_DIGITS);
        let [b'.', nanos @ .., b' ', stream, end, b' '] = rest else { return None };
        let at = Duration::new(number(seconds)?, u32::try_from(number(nanos)?).ok()?);
        let stream = match stream {
            b'o' => Stream::Out,
            b'e' => Stream::Error,
            _ => return None,
        };
        let end = match end {
            b'F' => End::Line,
            b'P' => End::Part,
            b'E' => End::Output,
            _ => return None,
        };
        (text.len() <= MAX_TEXT_BYTES).then_some(Self { at, stream, end, text })
    }
}

/// The text of all records of a log, as the container printed it.
pub fn text(log: &[u8]) -> Vec<u8> {
    let records = log.split_inclusive(|byte| *byte == b'\n').filter_map(Record::parse);
    let mut text = Vec::new();
    for record in records {
        text.extend_from_slice(record.text);
        text.extend((record.end == End::Line).then_some(b'\n'));
    }
    text
}

fn number(digits: &[u8]) -> Option<u64> {
    let digits =
        str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    digits?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_exactly_this_and_is_read_again() {
        let at = Duration::new(1_796_000_000, 1);
        let record = Record { at, stream: Stream::Error, end: End::Part, text: b"a \tb" };
        let mut line = Vec::new();
        record.write(&mut line);
        assert_eq!(line, b"1796000000.000000001 eP a \tb\n");
        assert_eq!(Record::parse(&line), Some(record));
        assert_eq!(line.len(), HEAD_BYTES + record.text.len() + 1);
        for end in [End::Line, End::Output] {
            let mut line = Vec::new();
            Record { end, ..record }.write(&mut line);
            assert_eq!(Record::parse(&line).map(|record| record.end), Some(end));
        }
    }

    #[test]
    fn what_is_no_record_is_none() {
        for line in [
            "",
            "text",
            "1796000000.000000001 eP",
            "1796000000.00000000x oF a",
            "+796000000.000000001 oF a",
            "1796000000.000000001 xF a",
            "1796000000.000000001 oX a",
            "1796000000.000000001 oFa a",
        ] {
            assert_eq!(Record::parse(line.as_bytes()), None, "{line}");
        }
        let long = format!("1796000000.000000001 oF {}", "a".repeat(MAX_TEXT_BYTES + 1));
        assert_eq!(Record::parse(long.as_bytes()), None);
    }
}
