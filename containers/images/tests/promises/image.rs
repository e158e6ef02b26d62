//! Images made in memory: archives from a list of entries, manifests around them.

use std::collections::HashMap;
use std::io::Write;

use compose::digest::ContentDigest;
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

/// The digest of some bytes.
pub fn digest(bytes: &[u8]) -> ContentDigest {
    ContentDigest::from_bytes(Sha256::digest(bytes).into())
}

/// A tar archive, entry by entry, lies included.
#[derive(Default)]
pub struct Archive(Vec<u8>);

impl Archive {
    pub fn entry(self, kind: EntryType, path: &str, link: &str, content: &[u8]) -> Self {
        self.owned(if crate::all_ids() { 7 } else { 0 }, 0o755, kind, path, link, content)
    }

    /// A program of root's with these permission bits.
    pub fn program(self, path: &str, mode: u32, content: &[u8]) -> Self {
        self.owned(0, mode, EntryType::Regular, path, "", content)
    }

    fn owned(
        mut self,
        uid: u64,
        mode: u32,
        kind: EntryType,
        path: &str,
        link: &str,
        content: &[u8],
    ) -> Self {
        let mut header = Header::new_gnu();
        let old = header.as_old_mut();
        old.name[..path.len()].copy_from_slice(path.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(uid);
        header.set_gid(if crate::all_ids() { 8 } else { 0 });
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.raw(header.as_bytes());
        self.raw(content);
        self.raw(&vec![0; content.len().next_multiple_of(512) - content.len()]);
        self
    }

    pub fn directory(self, path: &str) -> Self {
        self.entry(EntryType::Directory, path, "", b"")
    }

    pub fn file(self, path: &str, content: &[u8]) -> Self {
        self.entry(EntryType::Regular, path, "", content)
    }

    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, target, b"")
    }

    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path, target, b"")
    }

    /// A pax header for the next entry.
    pub fn pax(self, key: &str, value: &str) -> Self {
        self.pax_all(&[(key, value)])
    }

    /// The same of several records.
    pub fn pax_all(self, records: &[(&str, &str)]) -> Self {
        let record = |(key, value): &(&str, &str)| {
            let body = key.len() + value.len() + 3;
            let mut length = body + 1;
            while length != body + length.to_string().len() {
                length += 1;
            }
            format!("{length} {key}={value}\n")
        };
        let records: String = records.iter().map(record).collect();
        self.entry(EntryType::XHeader, "pax", "", records.as_bytes())
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// With the end mark.
    pub fn finish(mut self) -> Vec<u8> {
        self.raw(&[0; 1024]);
        self.0
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// Blobs by digest, as a registry holds them.
#[derive(Default, Clone)]
pub struct Blobs(pub HashMap<String, Vec<u8>>);

impl Blobs {
    pub fn add(&mut self, bytes: Vec<u8>) -> ContentDigest {
        let digest = digest(&bytes);
        self.0.insert(digest.to_string(), bytes);
        digest
    }

    /// Adds an image of these layers and gives its manifest's digest. A layer is its media type's
    /// end (`tar`, `tar+gzip`, `tar+zstd`), its compressed bytes and its archive.
    pub fn image(&mut self, layers: &[(&str, Vec<u8>, Vec<u8>)], process: &str) -> ContentDigest {
        let diff_ids: Vec<String> =
            layers.iter().map(|(_, _, archive)| digest(archive).to_string()).collect();
        let config = format!(
            r#"{{"os":"linux","architecture":"amd64","config":{process},"rootfs":{{"type":"layers","diff_ids":{}}}}}"#,
            serde_json::to_string(&diff_ids).expect("strings")
        );
        let config_size = config.len();
        let config = self.add(config.into_bytes());
        let listed: Vec<String> = layers
            .iter()
            .map(|(kind, packed, _)| {
                let digest = self.add(packed.clone());
                let kind = format!("application/vnd.oci.image.layer.v1.{kind}");
                format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{}}}"#, packed.len())
            })
            .collect();
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":{config_size}}},"layers":[{}]}}"#,
            listed.join(",")
        );
        self.add(manifest.into_bytes())
    }
}
