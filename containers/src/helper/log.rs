//! A container's output in a file that never grows past its bound.
//!
//! What a container prints is its own affair: bytes, kept as they are. At the bound the file becomes
//! `PATH.1`, replacing the one before, and a new one begins.

use std::fs::{File, OpenOptions, rename};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::wire::LogRequest;

/// The two files, and how full the newest is.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
    bytes: u64,
    max_bytes: u64,
}

impl Log {
    /// Goes on with the file of an earlier run, if there is one.
    pub(super) fn open(request: &LogRequest) -> io::Result<Self> {
        let file = append(&request.path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: request.path.clone(), file, bytes, max_bytes: request.max_bytes })
    }

    /// Adds `chunk`, which is at most as long as one read.
    pub(super) fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + chunk.len() as u64 > self.max_bytes {
            let mut older = self.path.clone().into_os_string();
            older.push(".1");
            rename(&self.path, older)?;
            self.file = append(&self.path)?;
            self.bytes = 0;
        }
        self.file.write_all(chunk)?;
        self.bytes += chunk.len() as u64;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_stay_within_their_bound() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log");
        let request = LogRequest { path: path.clone(), max_bytes: 10 };
        let mut log = Log::open(&request).expect("log");
        for chunk in [&b"12345"[..], b"67890", b"abc", b"defghijk"] {
            log.write(chunk).expect("write");
        }
        drop(log);
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect(name);
        assert_eq!((read("log.1").as_str(), read("log").as_str()), ("abc", "defghijk"));
        let mut log = Log::open(&request).expect("again");
        log.write(b"xyz").expect("write");
        assert_eq!((read("log.1").as_str(), read("log").as_str()), ("defghijk", "xyz"));
        assert_eq!(folder.path().read_dir().expect("folder").count(), 2);
    }
}
