//! An OCI image of one static program, byte for byte a function of that program.
//!
//! One layer, a plain tar: compression would make the digest depend on a library's version, and the
//! registry is on loopback. No times, users, build steps or host names are recorded. Layout and
//! documents as in the OCI image specification 1.1; reading images is the `containers` crate's
//! business, in the guest.

use std::collections::BTreeMap;
use std::path::Path;

use fs_err as fs;
use protocol::digest::Sha256Digest;
use serde::Serialize;

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The only version of a layout.
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// Nobody: the program needs no right over its files.
const USER: &str = "65534:65534";
/// The same, as archives have it.
const USER_ID: u64 = 65534;

/// What an image consists of.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// File name in the image's root, and its entry point.
    pub name: &'a str,
    /// A static executable.
    pub bytes: &'a [u8],
    /// TCP port on which it listens.
    pub port: u16,
    /// A directory of the root that belongs to the program's user. A volume that is mounted there
    /// begins with that owner.
    pub data: Option<&'a str>,
}

/// An image as a layout on disk holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Identifies the image: digest of its manifest.
    pub digest: Sha256Digest,
    /// Layer, configuration and manifest by their digests.
    pub blobs: BTreeMap<Sha256Digest, Vec<u8>>,
    index: Vec<u8>,
}

impl Image {
    /// Packs a program.
    #[must_use]
    pub fn of(program: &Program<'_>) -> Self {
        let mut blobs = BTreeMap::new();
        let mut add = |media_type, bytes: Vec<u8>| {
            let digest = Sha256Digest::of(&bytes);
            let size = bytes.len();
            blobs.insert(digest, bytes);
            Descriptor { media_type, digest: format!("sha256:{digest}"), size, platform: None }
        };
        let layer = add(LAYER, layer(program));
        let config = add(CONFIG, config(program, &layer.digest));
        let manifest =
            Manifest { schema_version: 2, media_type: MANIFEST, config, layers: [layer] };
        let manifest = json(&manifest);
        let digest = Sha256Digest::of(&manifest);
        let mut listed = add(MANIFEST, manifest);
        listed.platform = Some(PLATFORM);
        let index = json(&Index { schema_version: 2, media_type: INDEX, manifests: [listed] });
        Self { digest, blobs, index }
    }

    /// Writes `oci-layout`, `index.json` and `blobs/sha256/…` into a directory, which is emptied
    /// first. One that has the image is left alone: a guest may be served from it.
    ///
    /// # Errors
    /// If the directory cannot be replaced.
    pub fn write(&self, directory: &Path) -> std::io::Result<()> {
        if self.is_in(directory) {
            return Ok(());
        }
        if directory.exists() {
            fs::remove_dir_all(directory)?;
        }
        let blobs = directory.join("blobs/sha256");
        fs::create_dir_all(&blobs)?;
        for (digest, bytes) in &self.blobs {
            fs::write(blobs.join(digest.to_string()), bytes)?;
        }
        fs::write(directory.join("oci-layout"), LAYOUT)?;
        fs::write(directory.join("index.json"), &self.index)
    }

    /// Whether a directory has every file of the image as it should be.
    fn is_in(&self, directory: &Path) -> bool {
        let has = |path: &str, bytes: &[u8]| {
            fs::read(directory.join(path)).is_ok_and(|found| found == bytes)
        };
        has("oci-layout", LAYOUT)
            && has("index.json", &self.index)
            && self
                .blobs
                .iter()
                .all(|(digest, bytes)| has(&format!("blobs/sha256/{digest}"), bytes))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: &'static str,
    digest: String,
    size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
}

#[derive(Serialize)]
struct Platform {
    architecture: &'static str,
    os: &'static str,
}

const PLATFORM: Platform = Platform { architecture: "amd64", os: "linux" };

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: &'static str,
    config: Descriptor,
    layers: [Descriptor; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    media_type: &'static str,
    manifests: [Descriptor; 1],
}

#[derive(Serialize)]
struct Config<'a> {
    #[serde(flatten)]
    platform: Platform,
    config: Process,
    rootfs: RootFs<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Process {
    user: &'static str,
    exposed_ports: BTreeMap<String, BTreeMap<(), ()>>,
    entrypoint: [String; 1],
    working_dir: &'static str,
}

#[derive(Serialize)]
struct RootFs<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: [&'a str; 1],
}

fn config(program: &Program<'_>, layer_digest: &str) -> Vec<u8> {
    let config = Process {
        user: USER,
        exposed_ports: BTreeMap::from([(format!("{}/tcp", program.port), BTreeMap::new())]),
        entrypoint: [format!("/{}", program.name)],
        working_dir: "/",
    };
    let rootfs = RootFs { kind: "layers", diff_ids: [layer_digest] };
    json(&Config { platform: PLATFORM, config, rootfs })
}

fn layer(program: &Program<'_>) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut file = header(tar::EntryType::Regular, 0);
    file.set_size(program.bytes.len() as u64);
    let mut written = archive.append_data(&mut file, program.name, program.bytes);
    if let Some(data) = program.data {
        let mut directory = header(tar::EntryType::Directory, USER_ID);
        directory.set_size(0);
        written =
            written.and_then(|()| archive.append_data(&mut directory, data, std::io::empty()));
    }
    let layer = written.and_then(|()| archive.into_inner());
    layer.expect("a vector takes everything and the names are short and relative")
}

/// Time 0: whatever does not follow from the program is left out.
fn header(kind: tar::EntryType, owner: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_uid(owner);
    header.set_gid(owner);
    header.set_mtime(0);
    header
}

fn json(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("strings, numbers and string keys serialise")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: Program<'_> =
        Program { name: "hello", bytes: b"\x7fELF", port: 8080, data: None };

    fn parsed(image: &Image, digest: &str) -> serde_json::Value {
        let digest = Sha256Digest::from_hex(digest.strip_prefix("sha256:").unwrap()).unwrap();
        serde_json::from_slice(&image.blobs[&digest]).unwrap()
    }

    #[test]
    fn the_documents_lead_from_the_index_to_the_program() {
        let image = Image::of(&PROGRAM);
        let index: serde_json::Value = serde_json::from_slice(&image.index).unwrap();
        let listed = &index["manifests"][0];
        assert_eq!(listed["digest"], format!("sha256:{}", image.digest));
        assert_eq!(listed["platform"], serde_json::json!({"architecture": "amd64", "os": "linux"}));
        let manifest = parsed(&image, listed["digest"].as_str().unwrap());
        let config = parsed(&image, manifest["config"]["digest"].as_str().unwrap());
        assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/hello"]));
        assert_eq!(config["config"]["ExposedPorts"], serde_json::json!({"8080/tcp": {}}));
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        let sizes = image.blobs.values().map(Vec::len).sum::<usize>();
        let stated = [&manifest["config"], &manifest["layers"][0], listed]
            .map(|d| d["size"].as_u64().unwrap());
        assert_eq!(stated.iter().sum::<u64>(), sizes as u64);
    }

    /// Path, mode, time, owner, group and size of each entry.
    fn entries(layer: &[u8]) -> Vec<(String, u32, [u64; 4])> {
        let mut archive = tar::Archive::new(layer);
        let entries = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            let numbers = [header.mtime(), header.uid(), header.gid(), header.size()];
            let path = entry.path().unwrap().display().to_string();
            (path, header.mode().unwrap(), numbers.map(Result::unwrap))
        });
        entries.collect()
    }

    #[test]
    fn the_layer_is_the_program_alone_and_has_no_time() {
        assert_eq!(entries(&layer(&PROGRAM)), [("hello".to_owned(), 0o755, [0, 0, 0, 4])]);
    }

    #[test]
    fn a_data_directory_belongs_to_the_user_of_the_program() {
        let with_data = Program { data: Some("data"), ..PROGRAM };
        let directory = ("data".to_owned(), 0o755, [0, 65534, 65534, 0]);
        let layer = layer(&with_data);
        assert_eq!(entries(&layer), [("hello".to_owned(), 0o755, [0, 0, 0, 4]), directory]);
        let kinds: Vec<_> = tar::Archive::new(&layer[..])
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().header().entry_type())
            .collect();
        assert_eq!(kinds, [tar::EntryType::Regular, tar::EntryType::Directory]);
        assert_eq!(USER, format!("{USER_ID}:{USER_ID}"));
    }

    #[test]
    fn the_same_program_gives_the_same_image_and_another_does_not() {
        let image = Image::of(&PROGRAM);
        assert_eq!(Image::of(&PROGRAM), image);
        assert_ne!(Image::of(&Program { bytes: b"\x7fELG", ..PROGRAM }).digest, image.digest);
        assert_ne!(Image::of(&Program { port: 8081, ..PROGRAM }).digest, image.digest);
    }

    #[test]
    fn a_written_layout_has_every_blob_under_its_digest() {
        let directory = tempfile::tempdir().unwrap();
        let image = Image::of(&PROGRAM);
        let layout = directory.path().join("hello");
        fs::create_dir(&layout).unwrap();
        fs::write(layout.join("stale"), "old").unwrap();
        image.write(&layout).unwrap();
        assert!(!layout.join("stale").exists());
        assert_eq!(fs::read(layout.join("oci-layout")).unwrap(), LAYOUT);
        let blobs = fs::read_dir(layout.join("blobs/sha256")).unwrap().map(Result::unwrap);
        let mut count = 0;
        for blob in blobs {
            let bytes = fs::read(blob.path()).unwrap();
            assert_eq!(Sha256Digest::of(&bytes).to_string(), blob.file_name().to_str().unwrap());
            count += 1;
        }
        assert_eq!(count, 3);
    }

    #[test]
    fn a_layout_is_written_again_only_where_it_is_not_whole() {
        let directory = tempfile::tempdir().unwrap();
        let image = Image::of(&PROGRAM);
        let layout = directory.path().join("hello");
        image.write(&layout).unwrap();
        let beside = layout.join("beside");
        fs::write(&beside, "").unwrap();
        image.write(&layout).unwrap();
        assert!(beside.exists(), "the same image was written again");
        let blob = layout.join("blobs/sha256").join(image.digest.to_string());
        fs::write(&blob, "damaged").unwrap();
        image.write(&layout).unwrap();
        assert!(!beside.exists());
        assert_eq!(fs::read(blob).unwrap(), image.blobs[&image.digest]);
    }
}
