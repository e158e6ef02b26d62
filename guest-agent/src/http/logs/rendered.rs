//! Records of a log in the form that was asked for.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::log_record::{End, Record, Stream};
use time::OffsetDateTime;
use vte::{Parser, Perform};

use super::asked::Asked;

/// Chooses records by time and by how many lines are shown; keeps the parts of a line together.
#[derive(Debug)]
pub struct Selection {
    since: Duration,
    until: Duration,
    /// Lines that are still left out.
    skip: u64,
    /// What the last record of each stream was.
    lines: [Line; 2],
}

/// The line of a stream to which its next record belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// It begins with that record.
    New,
    /// It goes on, and is shown.
    Shown,
    /// It goes on, and is left out.
    LeftOut,
}

impl Selection {
    /// What `asked` wants, without its first `skip` lines.
    pub fn new(asked: &Asked, skip: u64) -> Self {
        let since = asked.since.unwrap_or(Duration::ZERO);
        let until = asked.until.unwrap_or(Duration::MAX);
        Self { since, until, skip, lines: [Line::New; 2] }
    }

    /// Whether a record is shown, and if so whether a line begins with it.
    pub fn shows(&mut self, record: &Record<'_>) -> Option<bool> {
        let line = match record.stream {
            Stream::Out => &mut self.lines[0],
            Stream::Error => &mut self.lines[1],
        };
        let begins = *line == Line::New;
        let shown = match *line {
            Line::Shown => true,
            Line::LeftOut => false,
            Line::New if record.at < self.since || record.at > self.until => false,
            Line::New if self.skip > 0 => {
                self.skip -= 1;
                false
            }
            Line::New => true,
        };
        *line = match (record.end, shown) {
            (End::Line | End::Output, _) => Line::New,
            (End::Part, true) => Line::Shown,
            (End::Part, false) => Line::LeftOut,
        };
        shown.then_some(begins)
    }
}

/// Writes records as they were asked for. Its state goes over pieces: a terminal command may begin
/// in one record and end in another.
pub struct Renderer {
    asked: Asked,
    parser: Parser,
    /// Bytes that do not fill a group of base64 yet.
    group: Vec<u8>,
    /// The last line had no line break, and the next one begins with it.
    unended: bool,
}

impl Renderer {
    /// For what `asked` wants.
    pub fn new(asked: &Asked) -> Self {
        let (asked, parser) = (asked.clone(), Parser::new());
        Self { asked, parser, group: Vec::new(), unended: false }
    }

    /// Adds a record, with which a line begins or goes on.
    pub fn add(&mut self, record: &Record<'_>, begins: bool, to: &mut Vec<u8>) {
        let mut text = Vec::with_capacity(record.text.len() + 40);
        if self.asked.bare && std::mem::take(&mut self.unended) {
            text.push(b'\n');
        }
        if self.asked.timestamps && begins {
            text.extend(timestamp(record.at).into_bytes());
        }
        text.extend_from_slice(record.text);
        text.extend((record.end == End::Line).then_some(b'\n'));
        self.unended = record.end == End::Output;
        match (self.asked.bare, self.asked.text) {
            (true, true) if self.asked.ansi => to.extend(String::from_utf8_lossy(&text).bytes()),
            (true, true) => {
                let mut plain = Plain(String::with_capacity(text.len()));
                self.parser.advance(&mut plain, &text);
                to.extend(plain.0.into_bytes());
            }
            (true, false) => {
                self.group.append(&mut text);
                let rest = self.group.split_off(self.group.len() / 3 * 3);
                to.extend(STANDARD.encode(std::mem::replace(&mut self.group, rest)).into_bytes());
            }
            (false, as_text) => document(record.stream, &text, as_text, to),
        }
    }

    /// Adds what was held back: the last group of base64.
    pub fn finish(&mut self, to: &mut Vec<u8>) {
        to.extend(STANDARD.encode(std::mem::take(&mut self.group)).into_bytes());
    }
}

/// Text without terminal commands; line breaks and tabs stay.
struct Plain(String);

impl Perform for Plain {
    fn print(&mut self, c: char) {
        self.0.push(c);
    }

    fn execute(&mut self, byte: u8) {
        if matches!(byte, b'\n' | b'\t') {
            self.0.push(byte.into());
        }
    }
}

/// dstack's document of one line.
fn document(stream: Stream, text: &[u8], as_text: bool, to: &mut Vec<u8>) {
    let channel = match stream {
        Stream::Out => "stdout",
        Stream::Error => "stderr",
    };
    let message =
        if as_text { String::from_utf8_lossy(text).into_owned() } else { STANDARD.encode(text) };
    let document = serde_json::json!({ "channel": channel, "message": message });
    to.extend(document.to_string().into_bytes());
    to.push(b'\n');
}

/// A line's time as Docker writes it, with a space behind it.
fn timestamp(at: Duration) -> String {
    let nanos = i128::try_from(at.as_nanos()).unwrap_or(i128::MAX);
    let time =
        OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, clock) = (time.date(), time.time());
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(text, "{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day());
    let (hour, minute, second) = clock.as_hms();
    let _ = write!(text, "T{hour:02}:{minute:02}:{second:02}.{:09}Z ", clock.nanosecond());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LINE: &[u8] = b"\x1b[1mhi\x1b[0m\tthere";

    fn record(at: Duration, end: End, text: &[u8]) -> Record<'_> {
        Record { at, stream: Stream::Out, end, text }
    }

    fn rendered(query: &str, records: &[Record<'_>]) -> String {
        let asked = Asked::parse(query, 100 * SECOND).unwrap();
        let (mut selection, mut renderer) = (Selection::new(&asked, 0), Renderer::new(&asked));
        let mut text = Vec::new();
        for record in records {
            if let Some(begins) = selection.shows(record) {
                renderer.add(record, begins, &mut text);
            }
        }
        renderer.finish(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn output_is_rendered_in_dstacks_forms_and_tabs_stay() {
        let records = [record(SECOND, End::Line, LINE), record(2 * SECOND, End::Output, b"ho")];
        let rendered = |query: &str| rendered(query, &records);
        assert_eq!(rendered("text&bare"), "hi\tthere\nho");
        assert_eq!(rendered("text&bare&ansi"), "\u{1b}[1mhi\u{1b}[0m\tthere\nho");
        assert_eq!(rendered("bare"), STANDARD.encode([LINE, b"\nho"].concat()));
        let second = rendered("text").lines().nth(1).unwrap().to_owned();
        assert_eq!(second, r#"{"channel":"stdout","message":"ho"}"#);
        let times = "1970-01-01T00:00:01.000000000Z hi\tthere\n1970-01-01T00:00:02.000000000Z ho";
        assert_eq!(rendered("text&bare&timestamps"), times);
        let first = rendered("text&timestamps").lines().next().unwrap().to_owned();
        assert!(first.contains("01-01T00:00:01.000000000Z \\u001b[1mhi"), "{first}");
    }

    #[test]
    fn a_line_in_parts_has_one_time_and_a_cut_off_one_does_not_run_into_the_next() {
        let records = [
            record(SECOND, End::Part, b"\x1b[3"),
            Record { stream: Stream::Error, ..record(SECOND, End::Line, b"!") },
            record(2 * SECOND, End::Line, b"1mred"),
            record(3 * SECOND, End::Output, b"cut"),
            record(4 * SECOND, End::Line, b"next"),
        ];
        assert_eq!(rendered("text&bare&since=3", &records), "cut\nnext\n");
        assert_eq!(rendered("text&bare&until=1", &records[..1]), "");
        let all = rendered("text&bare&timestamps&ansi", &records);
        assert_eq!(all.matches("1970").count(), 4, "{all}");
    }

    #[test]
    fn since_until_and_skipped_lines_choose_whole_lines() {
        let lines: Vec<_> = (1..=5).map(|at| record(at * SECOND, End::Line, b"")).collect();
        let shown = |query: &str, skip| {
            let asked = Asked::parse(query, 5 * SECOND).unwrap();
            let mut selection = Selection::new(&asked, skip);
            let shown = lines.iter().filter(|line| selection.shows(line).is_some());
            shown.map(|line| line.at.as_secs()).collect::<Vec<_>>()
        };
        assert_eq!(shown("since=2&until=4", 0), [2, 3, 4]);
        assert_eq!(shown("since=2&until=4", 1), [3, 4]);
        assert_eq!(shown("since=2s", 0), [3, 4, 5]);
        let parts = [
            record(SECOND, End::Part, b"a"),
            record(SECOND, End::Line, b"b"),
            record(SECOND, End::Line, b"c"),
        ];
        let mut selection = Selection::new(&Asked::parse("", SECOND).unwrap(), 1);
        let found: Vec<_> = parts.iter().map(|record| selection.shows(record)).collect();
        assert_eq!(found, [None, None, Some(true)]);
    }
}
