//! The initramfs archive: cpio in the "new ASCII" format, byte for byte a function of its contents.
//!
//! Order, inode numbers, owners, times and padding follow from the entries alone, so two builders
//! get the same archive and the kernel unpacks nothing that the manifest does not name. The reader
//! serves tests and listings; the guest's kernel has its own. Format: Linux,
//! `Documentation/driver-api/early-userspace/buffer-format.rst`.

use std::collections::BTreeMap;

const MAGIC: &[u8] = b"070701";
const HEADER_BYTES: usize = 110;
const TRAILER: &str = "TRAILER!!!";
/// Fields and file data start at multiples of this.
const ALIGNMENT: usize = 4;
/// The kernel's `PATH_MAX`: it skips longer names, so they are refused here.
const MAX_NAME_BYTES: usize = 4096;
/// Most entries of an archive that is read; an image has about 60.
const MAX_ENTRIES: usize = 4096;

const TYPE_MASK: u32 = 0o170_000;
const TYPE_DIRECTORY: u32 = 0o040_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_LINK: u32 = 0o120_000;
const TYPE_DEVICE: u32 = 0o020_000;

/// What stands at a path; owner and group are always root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory with its permission bits.
    Directory {
        /// Permission bits, such as `0o755`.
        mode: u32,
    },
    /// A file with its permission bits and contents.
    File {
        /// Permission bits, such as `0o644`.
        mode: u32,
        /// Contents.
        data: Vec<u8>,
    },
    /// A symbolic link.
    Link {
        /// Where it points.
        target: String,
    },
    /// A character device.
    Device {
        /// Permission bits.
        mode: u32,
        /// Which driver.
        major: u32,
        /// Which of its devices.
        minor: u32,
    },
}

impl Node {
    /// Type and permission bits, and the bytes that follow the header.
    fn parts(&self) -> (u32, &[u8]) {
        match self {
            Self::Directory { mode } => (TYPE_DIRECTORY | mode, &[]),
            Self::File { mode, data } => (TYPE_FILE | mode, data),
            Self::Link { target } => (TYPE_LINK | 0o777, target.as_bytes()),
            Self::Device { mode, .. } => (TYPE_DEVICE | mode, &[]),
        }
    }

    fn from_parts(header: &Header, data: &[u8]) -> Option<Self> {
        let mode = header.mode & !TYPE_MASK;
        let node = match header.mode & TYPE_MASK {
            TYPE_DIRECTORY => Self::Directory { mode },
            TYPE_FILE => Self::File { mode, data: data.to_vec() },
            TYPE_LINK => Self::Link { target: String::from_utf8(data.to_vec()).ok()? },
            TYPE_DEVICE => Self::Device { mode, major: header.device.0, minor: header.device.1 },
            _ => return None,
        };
        // Whatever the writer would say otherwise is another archive, such as a device with
        // contents.
        let (same_mode, same_data) = node.parts();
        (same_mode == header.mode && same_data == data && node.device() == header.device)
            .then_some(node)
    }

    fn device(&self) -> (u32, u32) {
        if let Self::Device { major, minor, .. } = *self { (major, minor) } else { (0, 0) }
    }
}

/// Everything in an archive by path: relative, `/` between parts, no part empty, `.` or `..`.
pub type Tree = BTreeMap<String, Node>;

/// Writes an archive whose files all carry the time `mtime`, in seconds since 1970.
///
/// # Errors
/// If a path is not plain, its parent is no directory of the tree, or a file has 4 GiB or more.
pub fn write(tree: &Tree, mtime: u32) -> Result<Vec<u8>, NewcError> {
    let mut archive = Vec::new();
    for (inode, (path, node)) in (1..).zip(tree) {
        check_path(tree, path)?;
        let (mode, data) = node.parts();
        let size = u32::try_from(data.len()).map_err(|_| NewcError::TooLarge(path.clone()))?;
        let links = if matches!(node, Node::Directory { .. }) { 2 } else { 1 };
        put_header(
            &mut archive,
            &Header { inode, mode, links, mtime, size, device: node.device() },
            path,
        );
        archive.extend_from_slice(data);
        pad(&mut archive);
    }
    let end = Header { inode: 0, mode: 0, links: 1, mtime: 0, size: 0, device: (0, 0) };
    put_header(&mut archive, &end, TRAILER);
    Ok(archive)
}

/// Reads an archive as [`write()`] makes it; anything else is refused.
///
/// # Errors
/// If the bytes are no such archive; the error names the offset or the path.
pub fn read(archive: &[u8]) -> Result<Tree, NewcError> {
    let mut tree = Tree::new();
    let mut at = 0;
    loop {
        let (header, path, next) = take_header(archive, at)?;
        if path == TRAILER {
            let leftover = archive.len().checked_sub(next).ok_or(NewcError::Truncated(at))?;
            return if leftover == 0 { Ok(tree) } else { Err(NewcError::Trailing(leftover)) };
        }
        let end = next + header.size as usize;
        let data = archive.get(next..end).ok_or(NewcError::Truncated(next))?;
        check_path(&tree, &path)?;
        let wrong_type = || NewcError::Type { path: path.clone(), mode: header.mode };
        let node = Node::from_parts(&header, data).ok_or_else(wrong_type)?;
        if tree.len() == MAX_ENTRIES || tree.insert(path.clone(), node).is_some() {
            return Err(NewcError::Repeated(path));
        }
        at = end.next_multiple_of(ALIGNMENT);
    }
}

struct Header {
    inode: u32,
    mode: u32,
    links: u32,
    mtime: u32,
    size: u32,
    /// Major and minor.
    device: (u32, u32),
}

fn put_header(archive: &mut Vec<u8>, header: &Header, path: &str) {
    let name_bytes = u32::try_from(path.len() + 1).expect("checked against MAX_NAME_BYTES");
    let Header { inode, mode, links, mtime, size, device: (major, minor) } = *header;
    archive.extend_from_slice(MAGIC);
    // User and group, the file system's own device number and a checksum that this variant has not
    // are all 0.
    for field in [inode, mode, 0, 0, links, mtime, size, 0, 0, major, minor, name_bytes, 0] {
        archive.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    archive.extend_from_slice(path.as_bytes());
    archive.push(0);
    pad(archive);
}

fn take_header(archive: &[u8], at: usize) -> Result<(Header, String, usize), NewcError> {
    let bytes = archive.get(at..at + HEADER_BYTES).ok_or(NewcError::Truncated(at))?;
    let (magic, fields) = bytes.split_at(MAGIC.len());
    let text = std::str::from_utf8(fields).map_err(|_| NewcError::Header(at))?;
    let field = |index: usize| {
        let digits = &text[index * 8..index * 8 + 8];
        u32::from_str_radix(digits, 16).map_err(|_| NewcError::Header(at))
    };
    // Everything that the writer leaves 0.
    let plain = [2, 3, 7, 8, 12].into_iter().all(|index| field(index) == Ok(0));
    if magic != MAGIC || !text.is_ascii() || !plain {
        return Err(NewcError::Header(at));
    }
    let header = Header {
        inode: field(0)?,
        mode: field(1)?,
        links: field(4)?,
        mtime: field(5)?,
        size: field(6)?,
        device: (field(9)?, field(10)?),
    };
    let name_bytes = field(11)? as usize;
    let start = at + HEADER_BYTES;
    let name = archive.get(start..start + name_bytes).ok_or(NewcError::Truncated(at))?;
    let (0, name) = name.split_last().map_or((&1, name), |(last, name)| (last, name)) else {
        return Err(NewcError::Header(at));
    };
    let path = String::from_utf8(name.to_vec()).map_err(|_| NewcError::Header(at))?;
    Ok((header, path, (start + name_bytes).next_multiple_of(ALIGNMENT)))
}

fn check_path(tree: &Tree, path: &str) -> Result<(), NewcError> {
    let plain_part =
        |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    if path.len() >= MAX_NAME_BYTES || path == TRAILER || !path.split('/').all(plain_part) {
        return Err(NewcError::Path(path.chars().take(64).collect()));
    }
    match path.rsplit_once('/') {
        Some((parent, _)) if !matches!(tree.get(parent), Some(Node::Directory { .. })) => {
            Err(NewcError::NoParent(path.into()))
        }
        _ => Ok(()),
    }
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(ALIGNMENT), 0);
}

/// Why an archive was not written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NewcError {
    /// not a plain relative path of fewer than 4096 bytes
    #[error("{0:?} is not a plain relative path of fewer than {MAX_NAME_BYTES} bytes")]
    Path(String),
    /// its directory is not in the archive before it
    #[error("{0:?}: its directory is not in the archive before it")]
    NoParent(String),
    /// 4 GiB or more
    #[error("{0:?} has 4 GiB or more, which the format cannot say")]
    TooLarge(String),
    /// occurs twice, or there are more than 4096 entries
    #[error("{0:?} occurs twice, or is beyond the {MAX_ENTRIES} entries that are read")]
    Repeated(String),
    /// nothing that this module writes
    #[error("{path:?} is of no kind that an image has: mode {mode:o}")]
    Type {
        /// Path of the entry.
        path: String,
        /// The whole mode.
        mode: u32,
    },
    /// no header of the format, or one with an owner or a checksum
    #[error("at offset {0}: no header of the format, or one with an owner or a checksum")]
    Header(usize),
    /// the archive ends early
    #[error("at offset {0}: the archive ends early")]
    Truncated(usize),
    /// bytes after the trailer
    #[error("{0} bytes after the trailer")]
    Trailing(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Tree {
        Tree::from([
            ("etc".into(), Node::Directory { mode: 0o755 }),
            ("etc/name".into(), Node::File { mode: 0o644, data: b"dstyx".to_vec() }),
            ("init".into(), Node::File { mode: 0o755, data: vec![] }),
            ("null".into(), Node::Device { mode: 0o666, major: 1, minor: 3 }),
            ("run".into(), Node::Link { target: "/tmp".into() }),
        ])
    }

    #[test]
    fn the_bytes_are_the_formats() {
        let head = |fields: &str| format!("070701{}", fields.replace(' ', ""));
        let expected = [
            head(
                "00000001 000041ED 00000000 00000000 00000002 00000007 00000000 00000000 00000000 00000000 00000000 00000004 00000000",
            ),
            "etc\0\0\0".into(),
            head(
                "00000002 000081A4 00000000 00000000 00000001 00000007 00000005 00000000 00000000 00000000 00000000 00000009 00000000",
            ),
            "etc/name\0\0dstyx\0\0\0".into(),
            head(
                "00000003 000081ED 00000000 00000000 00000001 00000007 00000000 00000000 00000000 00000000 00000000 00000005 00000000",
            ),
            "init\0\0".into(),
            head(
                "00000004 000021B6 00000000 00000000 00000001 00000007 00000000 00000000 00000000 00000001 00000003 00000005 00000000",
            ),
            "null\0\0".into(),
            head(
                "00000005 0000A1FF 00000000 00000000 00000001 00000007 00000004 00000000 00000000 00000000 00000000 00000004 00000000",
            ),
            "run\0\0\0/tmp".into(),
            head(
                "00000000 00000000 00000000 00000000 00000001 00000000 00000000 00000000 00000000 00000000 00000000 0000000B 00000000",
            ),
            "TRAILER!!!\0\0\0\0".into(),
        ];
        assert_eq!(String::from_utf8(write(&sample(), 7).unwrap()).unwrap(), expected.concat());
    }

    #[test]
    fn what_is_written_reads_back() {
        let archive = write(&sample(), 1).unwrap();
        assert_eq!(read(&archive), Ok(sample()));
        assert_eq!(write(&read(&archive).unwrap(), 1).unwrap(), archive);
    }

    #[test]
    fn every_cut_and_every_leftover_is_refused() {
        let archive = write(&sample(), 1).unwrap();
        for end in 0..archive.len() {
            assert!(read(&archive[..end]).is_err(), "{end}");
        }
        let longer = [&archive[..], &[0]].concat();
        assert_eq!(read(&longer), Err(NewcError::Trailing(1)));
    }

    #[test]
    fn paths_that_leave_the_tree_or_lack_a_directory_are_refused() {
        for bad in ["/init", "../x", "a//b", "", ".", "TRAILER!!!", "a\0b"] {
            let tree = Tree::from([(bad.into(), Node::File { mode: 0, data: vec![] })]);
            assert!(matches!(write(&tree, 0), Err(NewcError::Path(_))), "{bad:?}");
        }
        let orphan = Tree::from([("etc/name".into(), Node::File { mode: 0, data: vec![] })]);
        assert_eq!(write(&orphan, 0), Err(NewcError::NoParent("etc/name".into())));
    }

    #[test]
    fn another_kind_is_refused() {
        let archive = write(&sample(), 1).unwrap();
        let socket = String::from_utf8(archive).unwrap().replacen("000081A4", "0000C1A4", 1);
        let refused = read(socket.as_bytes());
        assert_eq!(refused, Err(NewcError::Type { path: "etc/name".into(), mode: 0o140_644 }));
    }
}
