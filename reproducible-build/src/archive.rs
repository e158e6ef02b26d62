//! Unpacks Debian packages and tarballs.
//!
//! Pure library code: no dpkg, no tar, no maintainer script. What is unpacked was
//! judged by its digest before; still no entry may leave the directory it is unpacked into.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use fs_err as fs;
use liblzma::read::XzDecoder;

/// Set-user-id, set-group-id and sticky bits mean nothing to a builder.
const DROPPED_MODE_BITS: u32 = 0o7000;

/// Gives `visit` the tar stream of a binary package's files.
///
/// # Errors
/// If the package is not well formed, or `visit` fails.
pub fn with_package_data<T>(
    deb: &[u8],
    visit: impl FnOnce(&mut dyn Read) -> Result<T, ArchiveError>,
) -> Result<T, ArchiveError> {
    let mut archive = ar::Archive::new(deb);
    while let Some(entry) = archive.next_entry() {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(entry.header().identifier()).into_owned();
        match name.as_str() {
            "data.tar.xz" => return visit(&mut XzDecoder::new_multi_decoder(entry)),
            "data.tar" => return visit(&mut entry),
            other if other.starts_with("data.tar") => {
                return Err(ArchiveError::Compression(name));
            }
            _ => {}
        }
    }
    Err(ArchiveError::NoData)
}

/// Unpacks a tar stream into `dir`; `claim` sees every path that is no directory
/// and may refuse it.
///
/// # Errors
/// If the stream is not well formed, an entry would leave `dir`, or `claim` refuses.
pub fn unpack_tar(
    stream: &mut dyn Read,
    dir: &Path,
    mut claim: impl FnMut(&Path) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    let mut archive = tar::Archive::new(stream);
    archive.set_mask(DROPPED_MODE_BITS);
    archive.set_preserve_permissions(true);
    archive.set_preserve_mtime(true);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        if !entry.header().entry_type().is_dir() {
            claim(&path)?;
        }
        if !entry.unpack_in(dir)? {
            return Err(ArchiveError::Leaves(path));
        }
    }
    Ok(())
}

/// Unpacks an xz-compressed tarball into `dir`.
///
/// # Errors
/// As [`unpack_tar`].
pub fn unpack_tar_xz(packed: impl Read, dir: &Path) -> Result<(), ArchiveError> {
    let mut stream = XzDecoder::new_multi_decoder(packed);
    unpack_tar(&mut stream, dir, |_| Ok(()))
}

/// The only directory in `dir`, as tarballs of sources have it.
///
/// # Errors
/// If there is more or less.
pub fn only_directory(dir: &Path) -> Result<PathBuf, ArchiveError> {
    let entries: Vec<_> = fs::read_dir(dir)?.collect::<Result<_, _>>()?;
    match &entries[..] {
        [one] if one.path().is_dir() => Ok(one.path()),
        other => Err(ArchiveError::TopLevel(other.len())),
    }
}

/// Why an archive was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// the package has no data member
    #[error("the package has no data member")]
    NoData,
    /// the package's member {0} is compressed in a way that is not read; xz is
    #[error("the package's member {0} is compressed in a way that is not read; xz is")]
    Compression(String),
    /// the entry {0} would leave the directory it is unpacked into
    #[error("the entry {0} would leave the directory it is unpacked into")]
    Leaves(PathBuf),
    /// the path {path} is in {first} and in {second}
    #[error("the path {path} is in {first} and in {second}")]
    Collision {
        /// Relative to the root.
        path: PathBuf,
        /// The package that had it first.
        first: String,
        /// The package that has it too.
        second: String,
    },
    /// the tarball has {0} entries at its top, not a single directory
    #[error("the tarball has {0} entries at its top, not a single directory")]
    TopLevel(usize),
    /// unpacking failed
    #[error("unpacking failed")]
    Io(#[from] io::Error),
}
