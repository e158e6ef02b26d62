//! Layers: tar streams that depend on their content alone, plain or packed.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{EntryType, Header};

/// How a layer is packed, named as the OCI image specification's media types end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// As most images are.
    Gzip,
    /// As newer images are.
    Zstd,
}

/// Who owns an entry: user and group by number.
pub type Owner = (u32, u32);
/// Root.
pub const ROOT: Owner = (0, 0);

/// A layer in the making.
pub struct Layer {
    archive: tar::Builder<Vec<u8>>,
    packing: Packing,
}

/// A finished layer.
pub struct Packed {
    /// Digest of the plain stream, as configurations name it.
    pub diff_id: protocol::digest::Sha256Digest,
    /// What is stored.
    pub bytes: Vec<u8>,
    /// What it is.
    pub media_type: &'static str,
}

impl Layer {
    /// An empty one.
    pub fn new(packing: Packing) -> Self {
        Self { archive: tar::Builder::new(Vec::new()), packing }
    }

    /// A directory.
    #[must_use]
    pub fn directory(mut self, path: &str, mode: u32, owner: Owner) -> Self {
        self.append(EntryType::Directory, path, mode, owner, &[]);
        self
    }

    /// A file.
    #[must_use]
    pub fn file(mut self, path: &str, mode: u32, content: &[u8]) -> Self {
        self.append(EntryType::Regular, path, mode, ROOT, content);
        self
    }

    /// A symbolic link.
    #[must_use]
    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.append_link(path, Path::new(target));
        self
    }

    /// Everything below `directory`, in the order of names, at `at`; nothing whose path there
    /// begins with one of `without`.
    #[must_use]
    pub fn tree(mut self, directory: &Path, at: &str, without: &[&str]) -> Self {
        self.append_tree(directory, Path::new(at), without, ROOT);
        self
    }

    /// Everything below `directory` in the same order, and the directory itself, as one owner's.
    #[must_use]
    pub fn owned_tree(mut self, directory: &Path, at: &str, owner: Owner) -> Self {
        self.append(EntryType::Directory, at, 0o700, owner, &[]);
        self.append_tree(directory, Path::new(at), &[], owner);
        self
    }

    /// Ends the stream and packs it.
    pub fn packed(self) -> Packed {
        let plain = self.archive.into_inner().unwrap();
        let diff_id = protocol::digest::Sha256Digest::of(&plain);
        let (bytes, media_type) = match self.packing {
            Packing::Plain => (plain, "application/vnd.oci.image.layer.v1.tar"),
            Packing::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
                encoder.write_all(&plain).unwrap();
                (encoder.finish().unwrap(), "application/vnd.oci.image.layer.v1.tar+gzip")
            }
            Packing::Zstd => (
                zstd::encode_all(&plain[..], 9).unwrap(),
                "application/vnd.oci.image.layer.v1.tar+zstd",
            ),
        };
        Packed { diff_id, bytes, media_type }
    }

    fn append_tree(&mut self, directory: &Path, at: &Path, without: &[&str], owner: Owner) {
        let mut entries: Vec<PathBuf> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for entry in entries {
            let path = at.join(entry.file_name().unwrap());
            let name = path.to_str().unwrap();
            if without.iter().any(|left_out| Path::new(name).starts_with(left_out)) {
                continue;
            }
            let metadata = fs::symlink_metadata(&entry).unwrap();
            let mode = metadata.permissions().mode() & 0o7777;
            if metadata.is_symlink() {
                self.append_link(name, &fs::read_link(&entry).unwrap());
            } else if metadata.is_dir() {
                self.append(EntryType::Directory, name, mode, owner, &[]);
                self.append_tree(&entry, &path, without, owner);
            } else {
                self.append(EntryType::Regular, name, mode, owner, &fs::read(&entry).unwrap());
            }
        }
    }

    fn append(
        &mut self,
        kind: EntryType,
        path: &str,
        mode: u32,
        (uid, gid): Owner,
        content: &[u8],
    ) {
        let mut header = header(kind, mode);
        header.set_uid(uid.into());
        header.set_gid(gid.into());
        header.set_size(content.len() as u64);
        let path = if kind == EntryType::Directory { format!("{path}/") } else { path.to_owned() };
        self.archive.append_data(&mut header, path, content).unwrap();
    }

    fn append_link(&mut self, path: &str, target: &Path) {
        self.archive.append_link(&mut header(EntryType::Symlink, 0o777), path, target).unwrap();
    }
}

fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header
}
