//! The records of a log that rotates, read in bounded pieces from some distance before its end.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The most of a log that is read before it is followed.
const MAX_BYTES: u64 = 16 << 20;
/// Bytes that are read at once: more than the longest record.
pub const PIECE_BYTES: u64 = 32 * 1024;
/// Age of the oldest file that is looked for.
const OLDEST: u32 = 100;

const _: () = assert!(PIECE_BYTES > protocol::log_record::MAX_RECORD_BYTES as u64);

/// A reader of whole records.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    /// Nothing while there is no log yet.
    file: Option<File>,
    /// The first file again and where its records begin, until the reader has been rewound.
    first: Option<(File, u64)>,
    /// Bytes from the start to the end of the log as it was opened.
    total: u64,
    /// How many of them are left.
    left: u64,
}

impl Reader {
    /// Stands before the last [`MAX_BYTES`] of the log at `path`, at the beginning of a record.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut total = 0;
        let mut start = None;
        for age in 0..=OLDEST {
            let Some(file) = opened(&aged(path, age))? else { break };
            total += file.metadata()?.len();
            start = Some((age, file));
            if total >= MAX_BYTES {
                break;
            }
        }
        let mut reader =
            Self { path: path.to_owned(), file: None, first: None, total, left: total };
        let Some((age, mut file)) = start else { return Ok(reader) };
        let begin = begin(&mut file, total.saturating_sub(MAX_BYTES))?;
        reader.total -= begin;
        reader.left = reader.total;
        reader.first = opened(&aged(path, age))?.map(|again| (again, begin));
        reader.file = Some(file);
        Ok(reader)
    }

    /// Goes back to the start, once.
    pub fn rewind(&mut self) -> io::Result<()> {
        if let Some((mut file, begin)) = self.first.take() {
            file.seek(SeekFrom::Start(begin))?;
            self.file = Some(file);
            self.left = self.total;
        }
        Ok(())
    }

    /// The next records of the log as it was opened; empty at its end.
    pub fn read(&mut self) -> io::Result<Vec<u8>> {
        let records = self.piece(self.left)?;
        self.left -= records.len() as u64;
        Ok(records)
    }

    /// The next records, also those that were added since; empty while there are none.
    pub fn read_on(&mut self) -> io::Result<Vec<u8>> {
        self.piece(u64::MAX)
    }

    fn piece(&mut self, limit: u64) -> io::Result<Vec<u8>> {
        loop {
            let Some(file) = &mut self.file else {
                self.file = opened(&self.path)?;
                if self.file.is_none() || limit == 0 {
                    return Ok(Vec::new());
                }
                continue;
            };
            let mut records = Vec::new();
            file.take(limit.min(PIECE_BYTES)).read_to_end(&mut records)?;
            // What is neither a record nor short is passed on whole; its reader knows it is none.
            let whole = records.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
            let whole = whole.or((records.len() as u64 == PIECE_BYTES).then_some(records.len()));
            let begun = records.split_off(whole.unwrap_or(0)).len();
            file.seek(SeekFrom::Current(-i64::try_from(begun).map_err(io::Error::other)?))?;
            if !records.is_empty() || limit == 0 {
                return Ok(records);
            }
            match newer(file, &self.path)? {
                Some(next) => self.file = Some(next),
                None => return Ok(records),
            }
        }
    }
}

/// Places `file` at the first record that begins at `at` or behind it.
fn begin(file: &mut File, at: u64) -> io::Result<u64> {
    let Some(before) = at.checked_sub(1) else { return Ok(0) };
    file.seek(SeekFrom::Start(before))?;
    let mut bytes = Vec::new();
    file.take(PIECE_BYTES).read_to_end(&mut bytes)?;
    let newline = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let begin = (before + newline as u64 + 1).min(before + bytes.len() as u64);
    file.seek(SeekFrom::Start(begin))
}

/// The file after `file`: that one is found by its identity, since a rotation renames it.
fn newer(file: &File, path: &Path) -> io::Result<Option<File>> {
    let own = identity(&file.metadata()?);
    let mut oldest = None;
    for age in 0..=OLDEST {
        match aged(path, age).metadata() {
            Ok(named) if identity(&named) == own => {
                return age.checked_sub(1).map_or(Ok(None), |age| opened(&aged(path, age)));
            }
            Ok(_) => oldest = Some(age),
            Err(_) => break,
        }
    }
    // The file was removed meanwhile: what is left is newer.
    oldest.map_or(Ok(None), |age| opened(&aged(path, age)))
}

fn identity(metadata: &std::fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn opened(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn aged(path: &Path, age: u32) -> PathBuf {
    if age == 0 {
        return path.to_owned();
    }
    let mut name = path.to_owned().into_os_string();
    name.push(format!(".{age}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    fn all(reader: &mut Reader) -> String {
        let mut text = Vec::new();
        loop {
            let piece = reader.read().unwrap();
            assert!(piece.len() as u64 <= PIECE_BYTES);
            if piece.is_empty() {
                return String::from_utf8(text).unwrap();
            }
            text.extend(piece);
        }
    }

    #[test]
    fn a_log_is_read_through_its_files_twice_and_not_what_comes_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web-1.log");
        assert_eq!(all(&mut Reader::open(&path).unwrap()), "");
        for (age, text) in [(2, "a\nb\n"), (1, "c\nd\n"), (0, "e\nf")] {
            fs::write(aged(&path, age), text).unwrap();
        }
        let mut reader = Reader::open(&path).unwrap();
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"\ng\n").unwrap();
        assert_eq!(all(&mut reader), "a\nb\nc\nd\ne\n");
        reader.rewind().unwrap();
        assert_eq!(all(&mut reader), "a\nb\nc\nd\ne\n");
        assert_eq!(reader.read_on().unwrap(), b"f\ng\n");
    }

    #[test]
    fn a_long_log_is_read_from_the_beginning_of_a_record() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web-1.log");
        let line = format!("{}\n", "x".repeat(9999));
        fs::write(aged(&path, 1), line.repeat(2000)).unwrap();
        fs::write(&path, "last\n").unwrap();
        let text = all(&mut Reader::open(&path).unwrap());
        assert!(text.len() as u64 <= MAX_BYTES && text.len() as u64 > MAX_BYTES - 10_000);
        assert!(text.starts_with(&line) && text.ends_with("x\nlast\n"));
    }

    #[test]
    fn a_follower_goes_over_a_rotation_and_reads_whole_records() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web-1.log");
        let mut reader = Reader::open(&path).unwrap();
        assert_eq!(reader.read_on().unwrap(), b"");
        fs::write(&path, "a\nb").unwrap();
        assert_eq!(reader.read_on().unwrap(), b"a\n");
        assert_eq!(reader.read_on().unwrap(), b"");
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"b\nc\n").unwrap();
        fs::rename(&path, aged(&path, 1)).unwrap();
        fs::write(&path, "d\n").unwrap();
        assert_eq!(reader.read_on().unwrap(), b"bb\nc\n");
        assert_eq!(reader.read_on().unwrap(), b"d\n");
        assert_eq!(reader.read_on().unwrap(), b"");
    }
}
