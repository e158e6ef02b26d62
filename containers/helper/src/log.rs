//! A container's output in files that never grow past their bound.
//!
//! What a container prints is its own affair: bytes, kept as they are, in records that say when and
//! on which stream (`protocol::log_record`). A line is kept once it has ended, is as long as a
//! record may be, or the container has ended. At the bound the file becomes `PATH.1`, that one
//! `PATH.2` and so on, the oldest is gone, and a new one begins. A disk that is full or fails costs
//! output, never the container.

use std::fs::{File, OpenOptions, remove_file, rename};
use std::io::{self, Write};
use std::mem;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol::log_record::{End, MAX_TEXT_BYTES, Record, Stream};

use super::wire::LogRequest;

/// The files, and how full the newest is.
#[derive(Debug)]
pub(super) struct Log(Option<Open>);

#[derive(Debug)]
struct Open {
    request: LogRequest,
    file: File,
    /// Bytes of the newest file.
    bytes: u64,
    /// Records that are written together.
    records: Vec<u8>,
    /// Lines that have not ended, of standard output and standard error.
    begun: [Vec<u8>; 2],
}

impl Log {
    /// Goes on with the file of an earlier run, if there is one; without a request nothing is kept.
    pub(super) fn open(request: Option<&LogRequest>) -> io::Result<Self> {
        let Some(request) = request else { return Ok(Self(None)) };
        let file = append(&request.path)?;
        let bytes = file.metadata()?.len();
        let (request, records, begun) = (request.clone(), Vec::new(), Default::default());
        Ok(Self(Some(Open { request, file, bytes, records, begun })))
    }

    /// Adds `chunk`, which is at most as long as one read.
    pub(super) fn write(&mut self, stream: Stream, chunk: &[u8]) {
        if let Some(open) = &mut self.0 {
            // Nobody reads the helper's own messages, and the container shall go on.
            let _ = open.write(stream, chunk, now());
        }
    }

    /// Keeps lines that the container's end has cut off.
    pub(super) fn finish(&mut self) {
        if let Some(open) = &mut self.0 {
            let _ = open.finish(now());
        }
    }
}

impl Open {
    fn write(&mut self, stream: Stream, chunk: &[u8], at: Duration) -> io::Result<()> {
        for line in chunk.split_inclusive(|byte| *byte == b'\n') {
            let mut text = mem::take(self.begun(stream));
            text.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
            while text.len() > MAX_TEXT_BYTES {
                let rest = text.split_off(MAX_TEXT_BYTES);
                self.record(&Record { at, stream, end: End::Part, text: &text })?;
                text = rest;
            }
            if line.ends_with(b"\n") {
                self.record(&Record { at, stream, end: End::Line, text: &text })?;
            } else {
                *self.begun(stream) = text;
            }
        }
        self.flush()
    }

    fn finish(&mut self, at: Duration) -> io::Result<()> {
        for stream in [Stream::Out, Stream::Error] {
            let text = mem::take(self.begun(stream));
            if !text.is_empty() {
                self.record(&Record { at, stream, end: End::Output, text: &text })?;
            }
        }
        self.flush()
    }

    fn begun(&mut self, stream: Stream) -> &mut Vec<u8> {
        let [out, error] = &mut self.begun;
        match stream {
            Stream::Out => out,
            Stream::Error => error,
        }
    }

    /// Adds a record, to another file where this one is full.
    fn record(&mut self, record: &Record<'_>) -> io::Result<()> {
        let before = self.records.len();
        record.write(&mut self.records);
        let bytes = self.bytes + self.records.len() as u64;
        if bytes > self.request.max_bytes && self.bytes + before as u64 > 0 {
            let record = self.records.split_off(before);
            self.flush()?;
            self.set_aside()?;
            self.file = append(&self.request.path)?;
            self.bytes = 0;
            self.records = record;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let records = mem::take(&mut self.records);
        self.file.write_all(&records)?;
        self.bytes += records.len() as u64;
        Ok(())
    }

    fn set_aside(&self) -> io::Result<()> {
        let path = |age: u32| older(&self.request.path, age);
        let oldest = self.request.max_files.saturating_sub(1);
        if oldest == 0 {
            return remove_file(&self.request.path);
        }
        for age in (0..oldest).rev() {
            match rename(path(age), path(age + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// `path` itself for age 0, `path.1` for what came before it.
fn older(path: &Path, age: u32) -> PathBuf {
    if age == 0 {
        return path.to_owned();
    }
    let mut name = path.to_owned().into_os_string();
    name.push(format!(".{age}"));
    name.into()
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Since 1970; a clock before that says 0.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Duration = Duration::from_secs(1_796_000_000);
    /// Bytes of a record with a text of five.
    const RECORD_BYTES: u64 = 30;

    /// The texts of each file, after writing each pair of chunks by a log of its own.
    fn kept(max_files: u32, chunks: &[&[u8]]) -> Vec<(String, String)> {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("log");
        let request = LogRequest { path, max_bytes: 2 * RECORD_BYTES, max_files };
        for half in chunks.chunks(2) {
            let mut log = Log::open(Some(&request)).expect("log");
            half.iter().for_each(|chunk| log.write(Stream::Out, chunk));
        }
        let mut files: Vec<(String, String)> = directory
            .path()
            .read_dir()
            .expect("directory")
            .flatten()
            .map(|entry| {
                let records = std::fs::read(entry.path()).expect("records");
                let text = String::from_utf8(protocol::log_record::text(&records)).expect("text");
                (entry.file_name().into_string().expect("name"), text)
            })
            .collect();
        files.sort();
        files
    }

    fn pairs(files: &[(String, String)]) -> Vec<(&str, &str)> {
        files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect()
    }

    #[test]
    fn the_files_stay_within_their_bound() {
        let chunks: [&[u8]; 3] = [b"12345\n67890\n", b"abcde\nfghij\n", b"xyz\n"];
        assert_eq!(pairs(&kept(1, &chunks)), [("log", "xyz\n")]);
        let two = [("log", "xyz\n"), ("log.1", "abcde\nfghij\n")];
        assert_eq!(pairs(&kept(2, &chunks)), two);
        let all = [two[0], two[1], ("log.2", "12345\n67890\n")];
        assert_eq!(pairs(&kept(9, &chunks)), all);
    }

    /// The bytes of a log after `act`.
    fn written(act: impl FnOnce(&mut Open) -> io::Result<()>) -> String {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("log");
        let request = LogRequest { path: path.clone(), max_bytes: 1 << 20, max_files: 1 };
        let mut log = Log::open(Some(&request)).expect("log");
        act(log.0.as_mut().expect("open")).expect("written");
        std::fs::read_to_string(path).expect("records")
    }

    #[test]
    fn lines_are_kept_whole_by_stream_and_the_last_one_at_the_end() {
        let log = written(|open| {
            open.write(Stream::Out, b"a\tb", AT)?;
            open.write(Stream::Error, b"oh\n", AT)?;
            open.write(Stream::Out, b"c\n\nlast", AT)?;
            open.finish(AT)
        });
        let at = "1796000000.000000000";
        assert_eq!(log, format!("{at} eF oh\n{at} oF a\tbc\n{at} oF \n{at} oE last\n"));
    }

    #[test]
    fn a_long_line_is_several_records_and_costs_no_memory() {
        let line = vec![b'x'; 2 * MAX_TEXT_BYTES + 1];
        let log = written(|open| {
            line.chunks(1000).try_for_each(|chunk| open.write(Stream::Out, chunk, AT))?;
            assert!(open.begun[0].len() <= MAX_TEXT_BYTES);
            open.write(Stream::Out, b"\n", AT)
        });
        let ends: Vec<_> = log
            .split_inclusive('\n')
            .map(|line| Record::parse(line.as_bytes()).expect("record").end)
            .collect();
        assert_eq!(ends, [End::Part, End::Part, End::Line]);
        let text = protocol::log_record::text(log.as_bytes());
        assert_eq!((&text[..line.len()], text.len()), (line.as_slice(), line.len() + 1));
    }

    #[test]
    fn without_a_request_nothing_is_kept() {
        let mut log = Log::open(None).expect("log");
        log.write(Stream::Out, b"gone");
    }
}
