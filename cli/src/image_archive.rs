//! What `docker save` and `podman save` write, kept as an OCI layout beside the app.
//!
//! An image that was built here is in no registry. Its archive is read once, strictly and bounded:
//! every blob is hashed while it is written, and what the manifest names must be there under its
//! digest. `up` serves the layout on loopback, and the guest checks every digest again.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use compose::digest::ContentDigest;
use container_images::{
    Document, MAX_CONFIG_BYTES, MAX_LAYERS, MAX_MANIFEST_BYTES, ManifestError, parse_config,
    parse_document,
};
use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub mod program;

/// Directory of an app's own images, in its directory.
pub const DIRECTORY: &str = "dstyx-images";

/// Three entries for each layer of an old archive, and the documents.
const MAX_ENTRIES: usize = 4 * MAX_LAYERS + 64;
/// As much as a guest fetches of one image.
const MAX_BYTES: u64 = 8 << 30;
/// An extended header of one entry; the paths that are looked for need none.
const MAX_EXTENDED_BYTES: u64 = 64 << 10;
/// The zeros that end an archive; writers fill up to a tape's record.
const MAX_PADDING_BYTES: u64 = 1 << 20;
/// Bytes at the start of a file that tell how it is compressed.
const MAGIC_BYTES: usize = 4;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The only version of a layout.
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Reads the archive at `path`, adds its image to the layout `layout`, and gives the digest of its
/// manifest.
pub fn import(path: &Path, layout: &Path) -> Result<ContentDigest, ArchiveError> {
    let unpacked = layout.join("unpacking");
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&unpacked)?;
    let imported = read(path, &unpacked).and_then(|archive| {
        let image = archive.image()?;
        fs::create_dir_all(&blobs)?;
        for digest in image.blobs {
            let entry = archive.by_digest(&digest).ok_or(ArchiveError::NoBlob(digest))?;
            fs::rename(&entry.place, blobs.join(digest.hex()))?;
        }
        fs::write(blobs.join(image.digest.hex()), &image.manifest)?;
        list(layout, image.digest, image.manifest.len() as u64)?;
        Ok(image.digest)
    });
    fs::remove_dir_all(&unpacked)?;
    if imported.is_err() {
        // Only a layout that this call began is empty, and only an empty one is removed.
        let _ = fs::remove_dir(layout);
    }
    imported
}

/// One file of the archive.
#[derive(Debug)]
struct Entry {
    digest: ContentDigest,
    size: u64,
    magic: [u8; MAGIC_BYTES],
    /// Where its bytes are.
    place: PathBuf,
}

/// The files of an archive by path, and its links.
#[derive(Debug, Default)]
struct Archive {
    files: BTreeMap<String, Entry>,
    links: BTreeMap<String, String>,
}

/// An image whose blobs are all there.
struct Image {
    digest: ContentDigest,
    manifest: Vec<u8>,
    blobs: Vec<ContentDigest>,
}

/// Unpacks the files of the archive at `path` into `directory`, under numbers.
fn read(path: &Path, directory: &Path) -> Result<Archive, ArchiveError> {
    // A pipe is never waited for.
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(ArchiveError::NoFile);
    }
    let mut left_bytes = MAX_BYTES;
    let mut archive = Archive::default();
    let mut tar = tar::Archive::new(io::BufReader::new(file));
    // Raw: extensions are looked at here, within bounds.
    for (number, entry) in tar.entries()?.raw(true).enumerate() {
        let mut entry = entry?;
        if number == MAX_ENTRIES {
            return Err(ArchiveError::TooMany("entries"));
        }
        let size = entry.header().entry_size()?;
        let path = name(&entry.path_bytes())?;
        match entry.header().entry_type() {
            tar::EntryType::Directory => {}
            tar::EntryType::Regular => {
                left_bytes = left_bytes.checked_sub(size).ok_or(ArchiveError::TooMany("bytes"))?;
                let file = unpack(&mut entry, size, directory.join(number.to_string()))?;
                if archive.files.insert(path.clone(), file).is_some() {
                    return Err(ArchiveError::Twice(path));
                }
            }
            tar::EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                let target = String::from_utf8(target).map_err(|_| ArchiveError::Path)?;
                archive.links.insert(path, target);
            }
            tar::EntryType::XHeader | tar::EntryType::XGlobalHeader => harmless(&mut entry, size)?,
            _ => return Err(ArchiveError::Kind(path)),
        }
    }
    let mut rest = Vec::new();
    tar.into_inner().take(MAX_PADDING_BYTES + 1).read_to_end(&mut rest)?;
    if rest.len() as u64 > MAX_PADDING_BYTES || rest.iter().any(|byte| *byte != 0) {
        return Err(ArchiveError::Trailing);
    }
    match archive.files.is_empty() {
        true => Err(ArchiveError::Empty),
        false => Ok(archive),
    }
}

/// The path of an entry without `./`; none leads up or out.
fn name(bytes: &[u8]) -> Result<String, ArchiveError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ArchiveError::Path)?;
    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if text.starts_with('/') || parts.contains(&"..") {
        return Err(ArchiveError::Path);
    }
    Ok(parts.join("/"))
}

/// Writes a file's bytes to `place` and hashes them.
fn unpack(from: &mut impl Read, size: u64, place: PathBuf) -> Result<Entry, ArchiveError> {
    let mut file = File::create_new(&place)?;
    let (mut hash, mut magic, mut done) = (Sha256::new(), [0; MAGIC_BYTES], 0u64);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        for (at, byte) in buffer[..read].iter().enumerate().take(MAGIC_BYTES) {
            if let Some(place) =
                usize::try_from(done).ok().and_then(|done| magic.get_mut(done + at))
            {
                *place = *byte;
            }
        }
        hash.update(&buffer[..read]);
        file.write_all(&buffer[..read])?;
        done += read as u64;
    }
    if done != size {
        return Err(ArchiveError::Short);
    }
    Ok(Entry { digest: ContentDigest::from_bytes(hash.finalize().into()), size, magic, place })
}

/// An extended header may say times and owners, never another path, link or size.
fn harmless(entry: &mut impl Read, size: u64) -> Result<(), ArchiveError> {
    if size > MAX_EXTENDED_BYTES {
        return Err(ArchiveError::TooMany("bytes of an extended header"));
    }
    let mut bytes = Vec::new();
    entry.take(MAX_EXTENDED_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let moves = [" path=", " linkpath=", " size="].iter().any(|key| text.contains(key));
    if moves { Err(ArchiveError::Path) } else { Ok(()) }
}

/// `index.json` of an OCI layout, as far as it is needed.
#[derive(Deserialize)]
struct RawIndex {
    manifests: Vec<RawListed>,
}

#[derive(Deserialize)]
struct RawListed {
    digest: ContentDigest,
}

/// An image of `manifest.json`, Docker's own list.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawImage {
    config: String,
    layers: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    media_type: &'static str,
    manifests: Vec<Descriptor>,
}

impl Archive {
    /// The one image, whichever form the archive has.
    fn image(&self) -> Result<Image, ArchiveError> {
        let manifest = match (self.files.get("index.json"), self.files.get("manifest.json")) {
            (Some(index), _) => self.listed(index)?,
            (None, Some(list)) => self.made(list)?,
            (None, None) => return Err(ArchiveError::NotAnImage),
        };
        let Document::Manifest { config, layers } = parse_document(&manifest)? else {
            return Err(ArchiveError::Manifest(ManifestError::NestedIndex));
        };
        let described = layers.iter().map(|layer| (layer.digest, layer.size));
        let described: Vec<_> = described.chain([(config.digest, config.size)]).collect();
        for (digest, size) in &described {
            match self.by_digest(digest) {
                Some(entry) if entry.size == *size => {}
                Some(entry) => {
                    return Err(ArchiveError::Size {
                        digest: *digest,
                        found: entry.size,
                        stated: *size,
                    });
                }
                None => return Err(ArchiveError::NoBlob(*digest)),
            }
        }
        let config = self.by_digest(&config.digest).expect("looked at above");
        parse_config(&contents(config, MAX_CONFIG_BYTES)?, layers.len())?;
        let mut blobs: Vec<ContentDigest> =
            described.into_iter().map(|(digest, _)| digest).collect();
        blobs.sort();
        blobs.dedup();
        Ok(Image { digest: digest_of(&manifest), manifest, blobs })
    }

    /// The manifest that an OCI layout leads to.
    fn listed(&self, index: &Entry) -> Result<Vec<u8>, ArchiveError> {
        let index: RawIndex = serde_json::from_slice(&contents(index, MAX_MANIFEST_BYTES)?)
            .map_err(|error| ArchiveError::Json("index.json", error))?;
        let [listed] = index.manifests.as_slice() else {
            return Err(ArchiveError::Images(index.manifests.len()));
        };
        let document = |digest: &ContentDigest| {
            let entry = self.by_digest(digest).ok_or(ArchiveError::NoBlob(*digest))?;
            contents(entry, MAX_MANIFEST_BYTES)
        };
        let bytes = document(&listed.digest)?;
        match parse_document(&bytes)? {
            Document::Manifest { .. } => Ok(bytes),
            Document::Index(for_platform) => document(&for_platform.digest),
        }
    }

    /// A manifest of what Docker's list names.
    fn made(&self, list: &Entry) -> Result<Vec<u8>, ArchiveError> {
        let images: Vec<RawImage> = serde_json::from_slice(&contents(list, MAX_MANIFEST_BYTES)?)
            .map_err(|error| ArchiveError::Json("manifest.json", error))?;
        let [image] = images.as_slice() else { return Err(ArchiveError::Images(images.len())) };
        let config = self.file(&image.config)?;
        let layers = image.layers.iter().map(|path| self.file(path));
        let layers = layers.collect::<Result<Vec<&Entry>, _>>()?;
        let (_, diff_ids) = parse_config(&contents(config, MAX_CONFIG_BYTES)?, layers.len())?;
        for (layer, diff_id) in layers.iter().zip(diff_ids) {
            if compression(&layer.magic).is_empty() && layer.digest != diff_id {
                return Err(ArchiveError::DiffId { found: layer.digest, stated: diff_id });
            }
        }
        let describe = |media_type: String, entry: &Entry| Descriptor {
            media_type,
            digest: entry.digest.to_string(),
            size: entry.size,
        };
        let layer =
            |entry: &&Entry| describe(format!("{LAYER}{}", compression(&entry.magic)), entry);
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST,
            config: describe(CONFIG.to_owned(), config),
            layers: layers.iter().map(layer).collect(),
        };
        Ok(serde_json::to_vec(&manifest).expect("strings and numbers serialise"))
    }

    /// The file at a path that a document names; old archives link layers that stand twice.
    fn file(&self, path: &str) -> Result<&Entry, ArchiveError> {
        let missing = || ArchiveError::NoEntry(path.to_owned());
        let path = name(path.as_bytes())?;
        if let Some(entry) = self.files.get(&path) {
            return Ok(entry);
        }
        let target = self.links.get(&path).ok_or_else(missing)?;
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
        for part in target.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop().ok_or(ArchiveError::Path)?),
                part => parts.push(part),
            }
        }
        self.files.get(&parts.join("/")).ok_or_else(missing)
    }

    fn by_digest(&self, digest: &ContentDigest) -> Option<&Entry> {
        self.files.values().find(|entry| entry.digest == *digest && entry.place.exists())
    }
}

fn contents(entry: &Entry, limit_bytes: u64) -> Result<Vec<u8>, ArchiveError> {
    if entry.size > limit_bytes {
        return Err(ArchiveError::TooMany("bytes of a document"));
    }
    Ok(fs::read(&entry.place)?)
}

fn digest_of(bytes: &[u8]) -> ContentDigest {
    ContentDigest::from_bytes(Sha256::digest(bytes).into())
}

/// The suffix of a layer's media type.
fn compression(magic: &[u8; MAGIC_BYTES]) -> &'static str {
    match magic {
        [0x1f, 0x8b, ..] => "+gzip",
        [0x28, 0xb5, 0x2f, 0xfd] => "+zstd",
        _ => "",
    }
}

/// Adds the manifest to the layout's `index.json`.
fn list(layout: &Path, digest: ContentDigest, size: u64) -> Result<(), ArchiveError> {
    #[derive(Deserialize)]
    struct Kept {
        manifests: Vec<Descriptor>,
    }
    let place = layout.join("index.json");
    let kept = match fs::read(&place) {
        Ok(bytes) => {
            serde_json::from_slice::<Kept>(&bytes)
                .map_err(|error| ArchiveError::Json("index.json", error))?
                .manifests
        }
        Err(_) => Vec::new(),
    };
    let digest = digest.to_string();
    let mut manifests: Vec<Descriptor> =
        kept.into_iter().filter(|manifest| manifest.digest != digest).collect();
    manifests.push(Descriptor { media_type: MANIFEST.to_owned(), digest, size });
    let index = Index { schema_version: 2, media_type: INDEX, manifests };
    fs::write(layout.join("oci-layout"), LAYOUT)?;
    fs::write(&place, serde_json::to_vec(&index).expect("strings and numbers serialise"))?;
    Ok(())
}

/// Why an archive gives no image.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// a file cannot be read or written
    #[error("the archive cannot be read, or its image not written")]
    Io(#[from] io::Error),
    /// a directory, a pipe or a device
    #[error("not a regular file")]
    NoFile,
    /// no tar archive, or an empty one
    #[error("the archive holds no file")]
    Empty,
    /// an entry ends before its size
    #[error("the archive ends inside an entry")]
    Short,
    /// something follows the archive's end
    #[error("bytes follow the end of the archive")]
    Trailing,
    /// a limit was hit
    #[error("too many {0}")]
    TooMany(&'static str),
    /// a path leads out, is no text, or is told in a way that is not read
    #[error("the archive holds a path that leads out of it, or is no plain text")]
    Path,
    /// a device, a hard link or the like
    #[error("{0:?} is no file, directory or symbolic link")]
    Kind(String),
    /// a path stands twice
    #[error("{0:?} stands twice in the archive")]
    Twice(String),
    /// neither of the two lists is there
    #[error("the archive has neither index.json nor manifest.json")]
    NotAnImage,
    /// another number of images than one
    #[error("the archive holds {0} images, expected one")]
    Images(usize),
    /// a document is not what it should be
    #[error("{0} is not the JSON that is expected")]
    Json(&'static str, #[source] serde_json::Error),
    /// a path that a document names is not there
    #[error("the archive has no {0:?}, which its manifest.json names")]
    NoEntry(String),
    /// a blob is not there, or its bytes have another digest
    #[error("the archive has no file whose digest is {0}")]
    NoBlob(ContentDigest),
    /// a blob has another size
    #[error("{digest} has {found} bytes, the manifest says {stated}")]
    Size {
        /// The blob.
        digest: ContentDigest,
        /// Its size.
        found: u64,
        /// The size in the manifest.
        stated: u64,
    },
    /// a layer is another than the configuration says
    #[error("a layer is {found}, the configuration says {stated}")]
    DiffId {
        /// The layer.
        found: ContentDigest,
        /// The configuration's.
        stated: ContentDigest,
    },
    /// a file of WebAssembly is no program for the sandbox of Pads
    #[error("no program for the sandbox of Pads")]
    Program(#[from] pad_component::ComponentError),
    /// the image is none that a guest runs
    #[error("no image that a guest runs")]
    Manifest(#[from] ManifestError),
}

impl ArchiveError {
    /// What to try.
    pub fn hint(&self) -> String {
        match self {
            Self::Program(error) => return error.hint(),
            Self::Images(_) => "save one image: `docker save -o FILE NAME`",
            Self::Manifest(ManifestError::Platform { .. } | ManifestError::NoPlatform) => {
                "build it for the guest: `docker build --platform linux/amd64 …`"
            }
            Self::Io(_) => "does the file exist, and is the app directory writable?",
            _ => "write it with `docker save -o FILE NAME` or `podman save -o FILE NAME`",
        }
        .to_owned()
    }
}

#[cfg(test)]
mod tests;
