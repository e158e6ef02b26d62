//! The files of one service: Pads, engines and programs that it put, and what left its runs.
//!
//! They are named by their SHA-256, which is computed here, and have no names on the data disk, so
//! that nothing of them outlives an agent; a service puts them again. Pads whose policies were
//! replaced are the exception: when their old key is retired, the only copy must not be lost, so
//! they have names, and a later agent finds them. Nothing here is in plain, and whoever reads the
//! files judges them again.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::libc;
use protocol::digest::Sha256Digest;
use protocol::pad_calls::FileInfo;
use sha2::{Digest as _, Sha256};

/// Files of all services together: each is an open descriptor of the agent, which has 1,024.
const MAX_FILES: usize = 256;
/// Bytes of the files of one service. The disk may be full earlier.
const MAX_BYTES: u64 = 8 << 30;
/// Bytes that are read at a time.
const PIECE_BYTES: usize = 64 << 10;

/// Why a file is not kept.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// too many files
    #[error("the service has {0} files already, and no more are kept")]
    Count(usize),
    /// too many bytes
    #[error("the service has {used} bytes in files, and {wanted} more are above {MAX_BYTES}")]
    Bytes {
        /// What it has.
        used: u64,
        /// What it asks for.
        wanted: u64,
    },
    /// other bytes than were announced
    #[error("the bytes have the SHA-256 {found}, expected {expected}")]
    Digest {
        /// Of the bytes.
        found: Sha256Digest,
        /// As announced.
        expected: Sha256Digest,
    },
    /// the disk
    #[error("the data disk: {0}")]
    Io(#[from] io::Error),
}

/// A file that is kept.
#[derive(Debug)]
pub struct Kept {
    file: File,
    bytes: u64,
    /// Of a Pad whose policies were replaced.
    path: Option<PathBuf>,
}

impl Kept {
    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The same file for another reader, who cannot write it.
    ///
    /// # Errors
    /// If descriptors are short.
    pub fn reader(&self) -> io::Result<File> {
        File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

/// The files of one service.
#[derive(Debug)]
pub struct Files {
    spool: PathBuf,
    named: PathBuf,
    max_files: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    files: BTreeMap<Sha256Digest, Arc<Kept>>,
    /// Bytes of these files, and of those that are being written.
    used: u64,
    /// Files that are being written.
    writing: usize,
}

impl Files {
    /// Those of a service, one of `services`, below a directory of the data disk. Pads that an
    /// earlier agent wrote under names are here again.
    ///
    /// # Errors
    /// If the directory cannot be made or read.
    pub fn open(directory: &Path, service: &str, services: usize) -> Result<Self, FilesError> {
        let named = directory.join("updated").join(service);
        let spool = directory.join("spool");
        for path in [&named, &spool] {
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        }
        let max_files = MAX_FILES / services.max(1);
        let files = Self { spool, named, max_files, held: Mutex::default() };
        for entry in fs::read_dir(&files.named)? {
            let path = entry?.path();
            let file = File::open(&path)?;
            let (digest, bytes) = digest_of(&file)?;
            files.lock().add(digest, Kept { file, bytes, path: Some(path) });
        }
        Ok(files)
    }

    /// Begins a file of so many bytes.
    ///
    /// # Errors
    /// If there are too many, or the disk refuses.
    pub fn begin(self: &Arc<Self>, bytes: u64) -> Result<Writing, FilesError> {
        let place = self.reserve(bytes)?;
        let unnamed = libc::O_TMPFILE;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .mode(0o600)
            .custom_flags(unnamed)
            .open(&self.spool)?;
        Ok(Writing { place, file, sha256: Sha256::new(), path: None })
    }

    /// Begins the file of a Pad whose policies are replaced, which has a name of its own.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn begin_named(self: &Arc<Self>, name: &str, bytes: u64) -> Result<Writing, FilesError> {
        let place = self.reserve(bytes)?;
        let path = self.named.join(name);
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        File::open(&self.named)?.sync_all()?;
        Ok(Writing { place, file, sha256: Sha256::new(), path: Some(path) })
    }

    fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Place, FilesError> {
        let mut held = self.lock();
        let count = held.files.len() + held.writing;
        if count >= self.max_files {
            return Err(FilesError::Count(count));
        }
        let used = held.used;
        if used.saturating_add(bytes) > MAX_BYTES {
            return Err(FilesError::Bytes { used, wanted: bytes });
        }
        held.used += bytes;
        held.writing += 1;
        drop(held);
        Ok(Place { files: Arc::clone(self), bytes })
    }

    /// A file by its digest.
    pub fn get(&self, digest: &Sha256Digest) -> Option<Arc<Kept>> {
        self.lock().files.get(digest).cloned()
    }

    /// Forgets a file; whether there was one.
    ///
    /// # Errors
    /// If it has a name that cannot be removed.
    pub fn remove(&self, digest: &Sha256Digest) -> Result<bool, FilesError> {
        let mut held = self.lock();
        let Some(kept) = held.files.get(digest) else { return Ok(false) };
        if let Some(path) = &kept.path {
            fs::remove_file(path)?;
        }
        held.used -= kept.bytes;
        held.files.remove(digest);
        Ok(true)
    }

    /// All of them.
    pub fn list(&self) -> Vec<FileInfo> {
        let held = self.lock();
        held.files.iter().map(|(sha256, kept)| info(*sha256, kept.bytes)).collect()
    }

    /// How many more there may be.
    pub fn room(&self) -> usize {
        let held = self.lock();
        self.max_files.saturating_sub(held.files.len() + held.writing)
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn add(&mut self, digest: Sha256Digest, kept: Kept) {
        let bytes = kept.bytes;
        match self.files.entry(digest) {
            std::collections::btree_map::Entry::Occupied(_) => {}
            std::collections::btree_map::Entry::Vacant(vacant) => {
                vacant.insert(Arc::new(kept));
                self.used += bytes;
            }
        }
    }
}

fn info(sha256: Sha256Digest, bytes: u64) -> FileInfo {
    FileInfo { sha256, bytes }
}

/// The place of a file that is being written; it is free again when this is dropped.
#[derive(Debug)]
struct Place {
    files: Arc<Files>,
    bytes: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.files.lock();
        held.used -= self.bytes;
        held.writing -= 1;
    }
}

/// A file that is being written.
#[derive(Debug)]
pub struct Writing {
    place: Place,
    file: File,
    sha256: Sha256,
    path: Option<PathBuf>,
}

impl Writing {
    /// Appends bytes. Whoever writes counts them.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sha256.update(bytes);
        self.file.write_all(bytes)
    }

    /// The file for another process, which writes it whole.
    ///
    /// # Errors
    /// If descriptors are short.
    pub fn given_away(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Keeps the file, if it has the digest that is expected.
    ///
    /// # Errors
    /// If it has another one.
    pub fn finish(self, expected: Option<Sha256Digest>) -> Result<FileInfo, FilesError> {
        let Self { place, file, sha256, path } = self;
        let digest = Sha256Digest(sha256.finalize().into());
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            return Err(FilesError::Digest { found: digest, expected });
        }
        Ok(keep(place, digest, Kept { bytes: file.metadata()?.len(), file, path }))
    }

    /// Keeps a file that another process wrote.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn finish_given_away(self) -> Result<FileInfo, FilesError> {
        let Self { place, file, path, .. } = self;
        let (digest, bytes) = digest_of(&file)?;
        Ok(keep(place, digest, Kept { file, bytes, path }))
    }

    /// Forgets the file.
    ///
    /// # Errors
    /// If it has a name that cannot be removed.
    pub fn abandon(self) -> io::Result<()> {
        self.path.map_or(Ok(()), fs::remove_file)
    }
}

fn keep(place: Place, digest: Sha256Digest, kept: Kept) -> FileInfo {
    let (files, bytes) = (Arc::clone(&place.files), kept.bytes);
    drop(place);
    files.lock().add(digest, kept);
    info(digest, bytes)
}

fn digest_of(file: &File) -> io::Result<(Sha256Digest, u64)> {
    let mut reader = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let (mut sha256, mut length) = (Sha256::new(), 0);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match reader.read(&mut piece)? {
            0 => return Ok((Sha256Digest(sha256.finalize().into()), length)),
            read => {
                sha256.update(&piece[..read]);
                length += read as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(directory: &Path) -> Arc<Files> {
        Arc::new(Files::open(directory, "a", MAX_FILES / 2).unwrap())
    }

    fn put(files: &Arc<Files>, bytes: &[u8]) -> Result<FileInfo, FilesError> {
        let mut writing = files.begin(bytes.len() as u64)?;
        writing.write(bytes)?;
        writing.finish(Some(Sha256Digest::of(bytes)))
    }

    #[test]
    fn files_are_bounded_found_by_their_digests_and_have_no_names() {
        let directory = tempfile::tempdir().unwrap();
        let files = files(directory.path());
        let first = put(&files, b"first").unwrap();
        assert_eq!((first.sha256, first.bytes), (Sha256Digest::of(b"first"), 5));
        assert_eq!(put(&files, b"first").unwrap(), first, "once more is the same file");
        assert_eq!(files.list(), [first]);
        let mut reader = files.get(&first.sha256).unwrap().reader().unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "first");
        assert!(reader.write_all(b"x").is_err(), "a reader does not write");
        let mut other = files.begin(5).unwrap();
        other.write(b"other").unwrap();
        let refused = other.finish(Some(first.sha256)).unwrap_err();
        assert!(matches!(refused, FilesError::Digest { .. }));
        assert!(matches!(files.begin(MAX_BYTES), Err(FilesError::Bytes { used: 5, .. })));
        let second = files.begin(1).unwrap();
        assert!(matches!(files.begin(1), Err(FilesError::Count(2))));
        drop(second);
        assert_eq!(files.room(), 1);
        assert_eq!(fs::read_dir(directory.path().join("spool")).unwrap().count(), 0);
        assert!(files.remove(&first.sha256).unwrap() && !files.remove(&first.sha256).unwrap());
        assert_eq!((files.room(), files.lock().used), (2, 0));
    }

    #[test]
    fn a_pad_with_other_policies_is_found_by_the_next_agent_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let writing = files(directory.path()).begin_named("01", 100).unwrap();
        writing.given_away().unwrap().write_all(b"a Pad").unwrap();
        let info = writing.finish_given_away().unwrap();
        assert_eq!(info.bytes, 5);
        let next = files(directory.path());
        assert_eq!(next.list(), [info]);
        assert!(next.begin_named("01", 5).is_err(), "a name is given once");
        assert!(next.remove(&info.sha256).unwrap());
        assert_eq!(files(directory.path()).list(), []);
        let abandoned = next.begin_named("02", 5).unwrap();
        abandoned.abandon().unwrap();
        assert_eq!(files(directory.path()).list(), []);
    }
}
