//! The entries of a layer's tar archive, with extended headers applied and bounded.
//!
//! The tar crate splits the stream and checks header sums; what precedes an entry (long names, pax
//! records) is applied here, because its size is an attacker's choice and must not become memory.
//! Sources: POSIX `pax` (ustar and extended header blocks), GNU tar's `L` and `K` entries, and the
//! OCI image specification's `layer.md`.

use std::fmt;
use std::io::Read;

use tar::{Archive, Entry, EntryType, Header, PaxExtensions};

use super::budget::MAX_EXTENDED_HEADER_BYTES;

/// Extended attributes of files, as pax writes them.
const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// What an entry makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Make {
    Directory,
    /// Its bytes follow.
    File,
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    Fifo,
    /// A character or block device, which no layer gets.
    Device,
}

/// One file, directory or link, as the archive describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) path: Vec<u8>,
    pub(super) make: Make,
    /// Permission bits with set-id and sticky bits.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds since 1970.
    pub(super) mtime_secs: i64,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Calls `apply` with each entry and its bytes; reads the archive to its end.
pub(super) fn for_each<R: Read, E: From<ArchiveError>>(
    reader: R,
    mut apply: impl FnMut(Item, &mut dyn Read) -> Result<(), E>,
) -> Result<R, E> {
    let mut archive = Archive::new(reader);
    let mut extended = Extended::default();
    let mut place = ArchivePlace::Start;
    for entry in archive.entries().map_err(|error| place.fault(ArchiveFault::Io(error)))?.raw(true)
    {
        let mut entry = entry.map_err(|error| place.fault(ArchiveFault::Io(error)))?;
        if extended.take_in(&mut entry).map_err(|fault| place.fault(fault))? {
            continue;
        }
        let path = extended.path_of(entry.header());
        let at = ArchivePlace::At(shown(&path));
        let item = std::mem::take(&mut extended).item(path, entry.header());
        apply(item.map_err(|fault| at.fault(fault))?, &mut entry)?;
        place = at.passed();
    }
    if !extended.is_empty() {
        return Err(place.fault(ArchiveFault::Dangling).into());
    }
    let mut reader = archive.into_inner();
    only_zeros(&mut reader).map_err(|fault| place.fault(fault))?;
    Ok(reader)
}

/// Where in an archive something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArchivePlace {
    /// Before its first entry.
    Start,
    /// The entry of this path.
    At(String),
    /// Behind the entry of this path, before the next one has a path.
    After(String),
}

impl ArchivePlace {
    fn fault(&self, fault: ArchiveFault) -> ArchiveError {
        ArchiveError { place: self.clone(), fault }
    }

    fn passed(self) -> Self {
        match self {
            Self::At(path) => Self::After(path),
            other => other,
        }
    }
}

impl fmt::Display for ArchivePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("at the start"),
            Self::At(path) => write!(f, "{path:?}"),
            Self::After(path) => write!(f, "after {path:?}"),
        }
    }
}

/// A path of an archive as an error shows it.
pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// What extended headers say about the next entry.
#[derive(Debug, Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime_secs: Option<i64>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// What is wrong with them; told with the path of the entry, which may come after it.
    fault: Option<ArchiveFault>,
}

impl Extended {
    fn is_empty(&self) -> bool {
        let Self { path, link, size, uid, gid, mtime_secs, xattrs, fault } = self;
        let ids = [size, uid, gid].into_iter().all(Option::is_none);
        ids && path.is_none()
            && link.is_none()
            && mtime_secs.is_none()
            && xattrs.is_empty()
            && fault.is_none()
    }

    /// Takes in an entry that only says something of the next one; false if it is another one.
    fn take_in<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<bool, ArchiveFault> {
        match entry.header().entry_type() {
            EntryType::XGlobalHeader => drop(short_bytes(entry)?),
            EntryType::XHeader => {
                let read = self.read_pax(&short_bytes(entry)?);
                self.fault = self.fault.take().or(read.err());
            }
            EntryType::GNULongName => self.path = Some(c_string(short_bytes(entry)?)),
            EntryType::GNULongLink => self.link = Some(c_string(short_bytes(entry)?)),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn path_of(&self, header: &Header) -> Vec<u8> {
        self.path.clone().unwrap_or_else(|| header.path_bytes().into_owned())
    }

    /// Takes in the records that change what is unpacked; those that only describe (names, atime)
    /// pass.
    fn read_pax(&mut self, bytes: &[u8]) -> Result<(), ArchiveFault> {
        for record in PaxExtensions::new(bytes) {
            let record = record.map_err(ArchiveFault::Io)?;
            let (key, value) = (record.key_bytes(), record.value_bytes());
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(number(value)?),
                b"uid" => self.uid = Some(number(value)?),
                b"gid" => self.gid = Some(number(value)?),
                b"mtime" => self.mtime_secs = Some(seconds(value)?),
                _ if key.starts_with(b"GNU.sparse.") => return Err(ArchiveFault::Sparse),
                _ => {
                    if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
                        self.xattrs.push((name.to_vec(), value.to_vec()));
                    }
                }
            }
        }
        Ok(())
    }

    fn item(self, path: Vec<u8>, header: &Header) -> Result<Item, ArchiveFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let size = header.entry_size().map_err(ArchiveFault::Io)?;
        if self.size.is_some_and(|stated| stated != size) {
            return Err(ArchiveFault::Size);
        }
        let link = self.link.or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
        let make = make(header, &path, link)?;
        let id = |extended: Option<u64>, plain: std::io::Result<u64>| {
            let id = match extended {
                Some(id) => id,
                None => plain.map_err(ArchiveFault::Io)?,
            };
            // The kernel takes u32::MAX for "leave as it is".
            u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or(ArchiveFault::Number)
        };
        let mtime = header.mtime().map_err(ArchiveFault::Io)?;
        Ok(Item {
            mode: header.mode().map_err(ArchiveFault::Io)? & 0o7777,
            uid: id(self.uid, header.uid())?,
            gid: id(self.gid, header.gid())?,
            mtime_secs: self
                .mtime_secs
                .unwrap_or(i64::try_from(mtime).map_err(|_| ArchiveFault::Number)?),
            xattrs: self.xattrs,
            path,
            make,
        })
    }
}

fn make(header: &Header, path: &[u8], link: Option<Vec<u8>>) -> Result<Make, ArchiveFault> {
    let target = || link.filter(|link| !link.is_empty()).ok_or(ArchiveFault::NoTarget);
    match header.entry_type() {
        EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => Ok(Make::Directory),
        EntryType::Regular | EntryType::Continuous => Ok(Make::File),
        EntryType::Directory => Ok(Make::Directory),
        EntryType::Symlink => Ok(Make::Symlink(target()?)),
        EntryType::Link => Ok(Make::HardLink(target()?)),
        EntryType::Fifo => Ok(Make::Fifo),
        EntryType::Block | EntryType::Char => Ok(Make::Device),
        EntryType::GNUSparse => Err(ArchiveFault::Sparse),
        other => Err(ArchiveFault::Kind(other.as_byte())),
    }
}

/// The bytes of an extended header.
fn short_bytes<R: Read>(entry: &mut Entry<'_, R>) -> Result<Vec<u8>, ArchiveFault> {
    let size = entry.header().entry_size().map_err(ArchiveFault::Io)?;
    if size > MAX_EXTENDED_HEADER_BYTES {
        return Err(ArchiveFault::HeaderTooLong(size));
    }
    let mut bytes = Vec::new();
    entry.take(size).read_to_end(&mut bytes).map_err(ArchiveFault::Io)?;
    Ok(bytes)
}

/// GNU's long names end with a NUL.
fn c_string(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

fn number(value: &[u8]) -> Result<u64, ArchiveFault> {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or(ArchiveFault::Number)
}

/// Whole seconds of a decimal such as `1700000000.25`.
fn seconds(value: &[u8]) -> Result<i64, ArchiveFault> {
    let whole = value.split(|b| *b == b'.').next().unwrap_or_default();
    std::str::from_utf8(whole).ok().and_then(|text| text.parse().ok()).ok_or(ArchiveFault::Number)
}

/// After the end mark an archive is padded with zeros.
fn only_zeros(reader: &mut impl Read) -> Result<(), ArchiveFault> {
    let mut buffer = [0; 4096];
    loop {
        let count = reader.read(&mut buffer).map_err(ArchiveFault::Io)?;
        if count == 0 {
            return Ok(());
        }
        if buffer[..count].iter().any(|b| *b != 0) {
            return Err(ArchiveFault::Trailing);
        }
    }
}

/// a fault of an archive, and where it was found
#[derive(Debug, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct ArchiveError {
    /// The entry.
    pub place: ArchivePlace,
    /// What is wrong.
    pub fault: ArchiveFault,
}

/// Why an archive is no layer.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveFault {
    /// reading failed: a bad header, a bad compressed stream, or a limit
    #[error("{0}")]
    Io(std::io::Error),
    /// a long name or a pax header is too long
    #[error("an extended header has {0} bytes, more than {MAX_EXTENDED_HEADER_BYTES}")]
    HeaderTooLong(u64),
    /// a number is none, or too large
    #[error("an owner, size or time is no number in range")]
    Number,
    /// the two sizes of an entry differ
    #[error("the sizes in header and extended header differ")]
    Size,
    /// a link leads nowhere
    #[error("a link has no target")]
    NoTarget,
    /// a sparse file in one of GNU's formats
    #[error("sparse files are not supported")]
    Sparse,
    /// an entry of another kind
    #[error("entry type {0:#04x} is not supported")]
    Kind(u8),
    /// an extended header without an entry after it
    #[error("an extended header without an entry")]
    Dangling,
    /// bytes after the end
    #[error("bytes after the end of the archive")]
    Trailing,
}
