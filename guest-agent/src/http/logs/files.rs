//! The end of a log that rotates, and what is added to it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The most that is read at once.
const MAX_BYTES: u64 = 1 << 20;
/// Age of the oldest file that is looked for; what is older is not in the last [`MAX_BYTES`] of any
/// log.
const OLDEST: u32 = 100;

/// Reads on where a tail ended.
#[derive(Debug)]
pub struct Follower {
    /// Nothing while there is no log yet.
    file: Option<File>,
}

/// The last `lines` lines, the newest file's and those before it, at most [`MAX_BYTES`]; and what
/// reads on from there.
pub fn tail(path: &Path, lines: usize) -> io::Result<(Vec<u8>, Follower)> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok((Vec::new(), Follower { file: None }));
        }
        Err(error) => return Err(error),
    };
    let mut read = last_bytes(&mut file, MAX_BYTES)?;
    for age in 1..=OLDEST {
        let missing = MAX_BYTES - read.len() as u64;
        if missing == 0 || count(&read) >= lines {
            break;
        }
        let Ok(mut older) = File::open(aged(path, age)) else { break };
        let mut before = last_bytes(&mut older, missing)?;
        before.append(&mut read);
        read = before;
    }
    Ok((last_lines(read, lines), Follower { file: Some(file) }))
}

impl Follower {
    /// What was added since, up to the last whole line where there is one; after a rotation that of
    /// the next file.
    pub fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let Some(file) = &mut self.file else {
            self.file = File::open(path).ok();
            return Ok(Vec::new());
        };
        let mut added = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut added)?;
        if added.is_empty() && is_another(file, path) {
            self.file = File::open(path).ok();
            return Ok(Vec::new());
        }
        if let Some(newline) = added.iter().rposition(|byte| *byte == b'\n') {
            let begun = added.split_off(newline + 1);
            file.seek_relative_back(begun.len())?;
        }
        Ok(added)
    }
}

/// Reading back what was not used.
trait SeekBack {
    fn seek_relative_back(&mut self, bytes: usize) -> io::Result<()>;
}

impl SeekBack for File {
    fn seek_relative_back(&mut self, bytes: usize) -> io::Result<()> {
        let bytes = i64::try_from(bytes).map_err(io::Error::other)?;
        self.seek(SeekFrom::Current(-bytes)).map(|_| ())
    }
}

/// Whether `path` names another file than the one that is open.
fn is_another(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), path.metadata()) else { return false };
    (open.dev(), open.ino()) != (named.dev(), named.ino())
}

fn last_bytes(file: &mut File, limit: u64) -> io::Result<Vec<u8>> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(limit)))?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn count(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// The last `lines` lines; an unfinished one at the end is one of them.
fn last_lines(mut bytes: Vec<u8>, lines: usize) -> Vec<u8> {
    let whole = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let starts =
        whole.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    match lines.checked_sub(1) {
        None => Vec::new(),
        Some(skipped) => match starts.into_iter().nth(skipped) {
            Some(start) => bytes.split_off(start),
            None => bytes,
        },
    }
}

fn aged(path: &Path, age: u32) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(format!(".{age}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_tail_goes_back_into_older_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web-1.log");
        assert_eq!(tail(&path, 9).unwrap().0, b"");
        fs::write(aged(&path, 2), "a\nb\n").unwrap();
        fs::write(aged(&path, 1), "c\nd\n").unwrap();
        fs::write(&path, "e\nf").unwrap();
        for (lines, expected) in [
            (0, ""),
            (1, "f"),
            (2, "e\nf"),
            (3, "d\ne\nf"),
            (5, "b\nc\nd\ne\nf"),
            (99, "a\nb\nc\nd\ne\nf"),
        ] {
            assert_eq!(text(tail(&path, lines).unwrap().0), expected, "{lines}");
        }
        fs::write(&path, vec![b'x'; 3 * MAX_BYTES as usize]).unwrap();
        assert_eq!(tail(&path, usize::MAX).unwrap().0.len() as u64, MAX_BYTES);
    }

    #[test]
    fn a_follower_goes_over_a_rotation_and_reads_whole_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web-1.log");
        let (_, mut follower) = tail(&path, 1).unwrap();
        assert_eq!(follower.read(&path).unwrap(), b"");
        fs::write(&path, "a\nb").unwrap();
        follower.read(&path).unwrap();
        assert_eq!(text(follower.read(&path).unwrap()), "a\n");
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"b\nc\n").unwrap();
        assert_eq!(text(follower.read(&path).unwrap()), "bb\nc\n");
        fs::rename(&path, aged(&path, 1)).unwrap();
        fs::write(&path, "d\n").unwrap();
        assert_eq!(follower.read(&path).unwrap(), b"");
        assert_eq!(text(follower.read(&path).unwrap()), "d\n");
    }
}
