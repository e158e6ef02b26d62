//! A container's output in files that never grow past their bound.
//!
//! What a container prints is its own affair: bytes, kept as they are. At the bound the file
//! becomes `PATH.1`, that one `PATH.2` and so on, the oldest is gone, and a new one begins. A disk
//! that is full or fails costs output, never the container.

use std::fs::{File, OpenOptions, remove_file, rename};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::wire::LogRequest;

/// The files, and how full the newest is.
#[derive(Debug)]
pub(super) struct Log(Option<Open>);

#[derive(Debug)]
struct Open {
    request: LogRequest,
    file: File,
    bytes: u64,
}

impl Log {
    /// Goes on with the file of an earlier run, if there is one; without a request nothing is kept.
    pub(super) fn open(request: Option<&LogRequest>) -> io::Result<Self> {
        let Some(request) = request else { return Ok(Self(None)) };
        let file = append(&request.path)?;
        let bytes = file.metadata()?.len();
        Ok(Self(Some(Open { request: request.clone(), file, bytes })))
    }

    /// Adds `chunk`, which is at most as long as one read.
    pub(super) fn write(&mut self, chunk: &[u8]) {
        if let Some(open) = &mut self.0 {
            // Nobody reads the helper's own messages, and the container shall go on.
            let _ = open.write(chunk);
        }
    }
}

impl Open {
    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + chunk.len() as u64 > self.request.max_bytes {
            self.set_aside()?;
            self.file = append(&self.request.path)?;
            self.bytes = 0;
        }
        self.file.write_all(chunk)?;
        self.bytes += chunk.len() as u64;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(max_files: u32, chunks: &[&[u8]]) -> Vec<(String, String)> {
        let directory = tempfile::tempdir().expect("directory");
        let request = LogRequest { path: directory.path().join("log"), max_bytes: 10, max_files };
        for half in chunks.chunks(2) {
            let mut log = Log::open(Some(&request)).expect("log");
            half.iter().for_each(|chunk| log.write(chunk));
        }
        let mut files: Vec<(String, String)> = directory
            .path()
            .read_dir()
            .expect("directory")
            .flatten()
            .map(|entry| {
                let text = std::fs::read_to_string(entry.path()).expect("text");
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
        let chunks: [&[u8]; 5] = [b"12345", b"67890", b"abc", b"defghijk", b"xyz"];
        assert_eq!(pairs(&kept(1, &chunks)), [("log", "xyz")]);
        assert_eq!(pairs(&kept(2, &chunks)), [("log", "xyz"), ("log.1", "defghijk")]);
        assert_eq!(
            pairs(&kept(3, &chunks)),
            [("log", "xyz"), ("log.1", "defghijk"), ("log.2", "abc")]
        );
        let all =
            [("log", "xyz"), ("log.1", "defghijk"), ("log.2", "abc"), ("log.3", "1234567890")];
        assert_eq!(pairs(&kept(9, &chunks)), all);
    }

    #[test]
    fn without_a_request_nothing_is_kept() {
        let mut log = Log::open(None).expect("log");
        log.write(b"gone");
    }
}
