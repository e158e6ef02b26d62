//! Promise: an image that is not what it should be is refused by what is wrong with it, and nothing
//! of it stays.
//!
//! The registry here is honest: every byte is the pinned one, and the image itself is bad. Layers
//! whose entries are bad are in [`crate::unpacking`].

use std::io::Write as _;
use std::sync::Arc;

use compose::ImageReference;
use compose::digest::ContentDigest;
use container_images::{Limits, Progress, Registries, Store, pull};

use crate::image::{Archive, Blobs, gzip, zstd};
use crate::registry::{Behaviour, mirrored, serve};
use crate::root;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const AMD64: &str = r#","platform":{"os":"linux","architecture":"amd64"}"#;

/// A descriptor, with more keys after a comma.
fn descriptor(kind: &str, digest: ContentDigest, size: usize, more: &str) -> String {
    format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}{more}}}"#)
}

/// What a bad image is made of; each part can be replaced.
struct Parts {
    blobs: Blobs,
    config: String,
    layers: Vec<String>,
}

impl Parts {
    /// A good image of one layer.
    fn good() -> Self {
        let mut blobs = Blobs::default();
        let archive = Archive::default().file("one", b"1").finish();
        let size = archive.len();
        let digest = blobs.add(archive);
        let layers = vec![descriptor(LAYER, digest, size, "")];
        let config = format!(
            r#"{{"os":"linux","architecture":"amd64","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{digest}"]}}}}"#
        );
        Self { blobs, config, layers }
    }

    fn manifest(&mut self) -> String {
        let config = self.blobs.add(self.config.clone().into_bytes());
        let config = descriptor(CONFIG, config, self.config.len(), "");
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#, self.layers.join(","))
    }

    fn diff_id(&self) -> String {
        self.blobs.0.keys().next().expect("the layer").clone()
    }

    /// The image whose manifest this is.
    fn pinned(mut self, manifest: String) -> Image {
        let digest = self.blobs.add(manifest.into_bytes());
        (self.blobs, digest)
    }
}

type Image = (Blobs, ContentDigest);

/// An image whose manifest is this text.
fn document(text: &str) -> Image {
    Parts::good().pinned(text.to_owned())
}

/// A good image with a change to its manifest.
fn with_manifest(from: &str, to: &str) -> Image {
    let mut parts = Parts::good();
    let manifest = parts.manifest();
    assert!(manifest.contains(from), "{manifest}");
    parts.pinned(manifest.replace(from, to))
}

/// A good image with a change to its configuration.
fn with_config(from: &str, to: &str) -> Image {
    let mut parts = Parts::good();
    assert!(parts.config.contains(from), "{}", parts.config);
    parts.config = parts.config.replace(from, to);
    let manifest = parts.manifest();
    parts.pinned(manifest)
}

/// An index of one entry for the manifest of a good image.
fn with_index(kind: &str, more_size: usize, more: &str) -> Image {
    let mut parts = Parts::good();
    let manifest = parts.manifest();
    let size = manifest.len() + more_size;
    let digest = parts.blobs.add(manifest.into_bytes());
    let entry = descriptor(kind, digest, size, more);
    parts.pinned(format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{entry}]}}"#))
}

fn nested_index() -> Image {
    let (mut blobs, inner) = with_index(MANIFEST, 0, AMD64);
    let size = blobs.0[&inner.to_string()].len();
    let entry = descriptor(MANIFEST, inner, size, AMD64);
    let outer = blobs.add(format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#).into_bytes());
    (blobs, outer)
}

fn index_to_nothing() -> Image {
    let (mut blobs, digest) = with_index(MANIFEST, 0, AMD64);
    blobs.0.retain(|name, bytes| *name == digest.to_string() || !bytes.starts_with(b"{"));
    (blobs, digest)
}

/// An index whose one entry has the name of a manifest and the bytes of another.
fn index_elsewhere() -> Image {
    let (mut blobs, digest) = with_index(MANIFEST, 0, AMD64);
    let other = Parts::good().manifest().replace("schemaVersion", "schemaversion").into_bytes();
    for (name, bytes) in &mut blobs.0 {
        if *name != digest.to_string() && bytes.starts_with(b"{\"schemaVersion") {
            *bytes = other.clone();
        }
    }
    (blobs, digest)
}

fn many_layers() -> Image {
    let mut parts = Parts::good();
    parts.layers = vec![parts.layers[0].clone(); 128];
    let manifest = parts.manifest();
    parts.pinned(manifest)
}

/// One layer: its media type's end, its bytes, and the archive whose digest the configuration
/// names.
fn layer(kind: &str, packed: Vec<u8>, archive: Vec<u8>) -> Image {
    let mut blobs = Blobs::default();
    let digest = blobs.image(&[(kind, packed, archive)], "{}");
    (blobs, digest)
}

fn archive() -> Vec<u8> {
    Archive::default().file("one", &[b'1'; 5000]).finish()
}

/// Without its last `cut` bytes.
fn cut(mut bytes: Vec<u8>, cut: usize) -> Vec<u8> {
    bytes.truncate(bytes.len() - cut);
    bytes
}

/// Pulls into an empty store and asserts that it is empty afterwards.
async fn refusal(case: &str, (blobs, digest): Image, limits: Limits) -> String {
    let directory = tempfile::tempdir().expect("directory");
    let mirror = serve(blobs, Behaviour::Honest, Behaviour::Honest);
    let image = ImageReference::parse(&format!("example.org/app@{digest}")).expect("reference");
    let registries = Arc::new(Registries::new(mirrored(vec![mirror])).expect("mirror"));
    let store = Arc::new(Store::open(directory.path()).expect("store"));
    let pulled = pull(&image, registries, Arc::clone(&store), limits, &Progress::default()).await;
    for name in ["layers", "programs", "documents", "partial"] {
        assert_eq!(
            directory.path().join(name).read_dir().expect(name).count(),
            0,
            "{case}: {name}"
        );
    }
    assert_eq!(
        store.collect(std::iter::empty(), std::iter::empty()).expect("collected"),
        Default::default(),
        "{case}"
    );
    pulled.expect_err(case).to_string()
}

// Long: a table, one row a case.
#[tokio::test]
async fn bad_documents_are_refused_by_what_is_wrong_with_them() {
    let deep = format!(r#"{{"schemaVersion":2,"x":{}1{}}}"#, "[".repeat(500), "]".repeat(500));
    let large = format!(r#"{{"schemaVersion":2,"x":"{}"}}"#, " ".repeat(5 << 20));
    let cases = [
        ("not JSON", document("<html>"), "not an image document"),
        ("empty", document("{}"), "not an image document"),
        ("cut", document(r#"{"schemaVersion":2,"layers":["#), "not an image document"),
        ("followed by more", document(r#"{"schemaVersion":2}{}"#), "trailing characters"),
        ("a key twice", document(r#"{"schemaVersion":2,"schemaVersion":2}"#), "duplicate field"),
        ("deep", document(&deep), "neither an index"),
        ("large", document(&large), "more than 4194304 bytes were sent"),
        (
            "Docker's first schema",
            document(r#"{"schemaVersion":1,"fsLayers":[]}"#),
            "schemaVersion is 1",
        ),
        ("a later schema", document(r#"{"schemaVersion":3}"#), "schemaVersion is 3"),
        ("neither", document(r#"{"schemaVersion":2}"#), "neither an index"),
        ("both", with_manifest("\"layers\"", "\"manifests\":[],\"layers\""), "neither an index"),
        (
            "says index",
            with_manifest("{\"schema", &format!("{{\"mediaType\":\"{INDEX}\",\"schema")),
            "media type",
        ),
        ("nested index", nested_index(), "points to another index"),
        ("index says index", with_index(INDEX, 0, AMD64), "points to another index"),
        (
            "index to an artefact",
            with_index("application/x", 0, AMD64),
            "media type \"application/x\"",
        ),
        (
            "index for arm",
            with_index(MANIFEST, 0, &AMD64.replace("amd64", "arm64")),
            "no manifest for linux/amd64",
        ),
        (
            "index for Windows",
            with_index(MANIFEST, 0, &AMD64.replace("linux", "windows")),
            "no manifest for linux",
        ),
        (
            "empty index",
            document(r#"{"schemaVersion":2,"manifests":[]}"#),
            "no manifest for linux/amd64",
        ),
        (
            "index with a wrong size",
            with_index(MANIFEST, 1, AMD64),
            "bytes are announced, expected",
        ),
        ("index to nothing", index_to_nothing(), "HTTP status 404"),
        ("index elsewhere", index_elsewhere(), "bytes"),
        ("no layers", with_manifest(&Parts::good().layers[0], ""), "0 layers, expected 1 to 127"),
        ("many layers", many_layers(), "128 layers, expected 1 to 127"),
        (
            "foreign layer",
            with_manifest(LAYER, "application/vnd.oci.image.layer.nondistributable.v1.tar"),
            "media type",
        ),
        (
            "a chart",
            with_manifest(CONFIG, "application/vnd.cncf.helm.config.v1+json"),
            "media type",
        ),
        (
            "another digest",
            with_manifest("\"sha256:", "\"sha1:"),
            "does not start with \"sha256:\"",
        ),
        ("a negative size", with_manifest("\"size\":", "\"size\":-"), "invalid value"),
        (
            "a vast size",
            with_manifest(&format!("\"size\":{}", archive_one()), "\"size\":18446744073709551615"),
            "the layers have",
        ),
        ("configuration of another size", wrong_config_size(), "bytes are announced, expected"),
    ];
    all_refused(cases).await;
}

#[tokio::test]
async fn bad_configurations_are_refused_by_what_is_wrong_with_them() {
    let one = format!("[\"{}\"]", Parts::good().diff_id());
    let two = format!("[\"{0}\",\"{0}\"]", Parts::good().diff_id());
    let cases = [
        ("not JSON", with_config("{\"os\"", "os"), "not an image document"),
        ("an empty object", with_config(&Parts::good().config, "{}"), "missing field"),
        (
            "for arm",
            with_config("amd64", "arm64"),
            "the image is for linux/arm64, expected linux/amd64",
        ),
        ("for Windows", with_config("linux", "windows"), "the image is for windows/amd64"),
        ("other layers", with_config("\"layers\"", "\"files\""), "names 1 layers, the manifest 1"),
        ("no layer named", with_config(&one, "[]"), "names 0 layers, the manifest 1"),
        ("two layers named", with_config(&one, &two), "names 2 layers, the manifest 1"),
        (
            "another archive named",
            with_config(&one, &format!("[\"{}\"]", crate::image::digest(b""))),
            "wrong archive: expected sha256:e3b0c442",
        ),
        (
            "a health check of nothing",
            with_config("\"config\":{}", r#""config":{"Healthcheck":{"Test":["CMD"]}}"#),
            "health check",
        ),
        (
            "a relative volume",
            with_config("\"config\":{}", r#""config":{"Volumes":{"../x":{}}}"#),
            "volume \"../x\"",
        ),
        (
            "a number as command",
            with_config("\"config\":{}", r#""config":{"Cmd":7}"#),
            "invalid type",
        ),
    ];
    all_refused(cases).await;
}

// Long: a table, one row a case.
#[tokio::test]
async fn bad_layers_are_refused_by_what_is_wrong_with_them() {
    let (gz, zst) = (gzip(&archive()), zstd(&archive()));
    let sum = {
        let mut bytes = archive();
        bytes[0] ^= 1;
        bytes
    };
    let zeros = Archive::default().file("zeros", &vec![0; 70 << 20]).finish();
    let cases = [
        ("gzip cut in its data", layer("tar+gzip", cut(gz.clone(), 30), archive()), "deflate"),
        (
            "gzip cut in its end",
            layer("tar+gzip", cut(gz.clone(), 4), archive()),
            "unexpected end of file",
        ),
        (
            "gzip of other bytes",
            layer("tar+gzip", gzip(b"not an archive"), b"not an archive".to_vec()),
            "failed to read entire block",
        ),
        ("no gzip at all", layer("tar+gzip", archive(), archive()), "invalid gzip header"),
        (
            "gzip and more",
            layer("tar+gzip", [&gz[..], b"more"].concat(), archive()),
            "unexpected end of file",
        ),
        (
            "a wrong check sum",
            layer("tar+gzip", flipped(gz.clone(), 5), archive()),
            "corrupt gzip stream",
        ),
        (
            "zstd cut",
            layer("tar+zstd", cut(zst.clone(), 3), archive()),
            "zstd: Failed to parse block header",
        ),
        ("no zstd at all", layer("tar+zstd", archive(), archive()), "zstd: BadMagicNumber"),
        (
            "zstd and more",
            layer("tar+zstd", [&zst[..], b"more"].concat(), archive()),
            "zstd: BadMagicNumber",
        ),
        ("gzip called plain", layer("tar", gz, archive()), "failed to read entire block"),
        ("a wrong header sum", layer("tar", sum.clone(), sum), "archive header checksum mismatch"),
        (
            "cut in a file",
            layer("tar", archive()[..1000].to_vec(), archive()[..1000].to_vec()),
            "unexpected EOF",
        ),
        (
            "bytes after the end",
            with_archive([&archive()[..], &[1; 512]].concat()),
            "bytes after the end",
        ),
        ("a file beyond the end", with_archive(beyond()), "unexpected EOF"),
        (
            "a bomb by ratio, gzip",
            layer("tar+gzip", best_gzip(&zeros), zeros.clone()),
            "more than 200 times its size",
        ),
        (
            "a bomb by ratio, zstd",
            layer("tar+zstd", zstd(&zeros), zeros),
            "more than 200 times its size",
        ),
        (
            "a long extended header",
            with_archive(
                Archive::default().pax("path", &"a".repeat(70_000)).file("x", b"").finish(),
            ),
            "an extended header has",
        ),
        (
            "an empty archive of nothing",
            layer("tar+gzip", Vec::new(), Vec::new()),
            "unexpected end of file",
        ),
    ];
    all_refused(cases).await;
}

#[tokio::test]
async fn budgets_end_what_is_too_much() {
    if !root("budgets_end_what_is_too_much") {
        return;
    }
    let limits = Limits::default();
    let files = |count: usize| {
        with_archive(
            (0..count).fold(Archive::default(), |a, n| a.file(&n.to_string(), b"")).finish(),
        )
    };
    let cases = [
        (
            with_archive(archive()),
            Limits { fetched_bytes: 9, ..limits },
            "the layers have 6656 bytes, more than 9",
        ),
        (
            with_archive(archive()),
            Limits { unpacked_bytes: 6000, ..limits },
            "unpacks to more than 6000 bytes",
        ),
        (files(11), Limits { entries: 10, ..limits }, "the image has more than 10 files"),
    ];
    for (image, limits, expected) in cases {
        let error = refusal(expected, image, limits).await;
        assert!(error.contains(expected), "expected {expected:?}, found {error}");
    }
}

/// Each case on its own, with the limits of the guest.
async fn all_refused(cases: impl IntoIterator<Item = (&'static str, Image, &'static str)>) {
    if !root("bad images are refused") {
        return;
    }
    let mut wrong = Vec::new();
    for (case, image, expected) in cases {
        let error = refusal(case, image, Limits::default()).await;
        if !error.contains(expected) {
            wrong.push(format!("{case}: expected {expected:?}, found {error}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn best_gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn archive_one() -> usize {
    Archive::default().file("one", b"1").finish().len()
}

fn wrong_config_size() -> Image {
    let mut parts = Parts::good();
    let (size, manifest) = (parts.config.len(), parts.manifest());
    parts.pinned(manifest.replace(&format!("\"size\":{size}"), &format!("\"size\":{}", size - 1)))
}

/// A plain layer.
fn with_archive(archive: Vec<u8>) -> Image {
    layer("tar", archive.clone(), archive)
}

/// With a bit changed in the byte that far from the end.
fn flipped(mut bytes: Vec<u8>, from_end: usize) -> Vec<u8> {
    let at = bytes.len() - from_end;
    bytes[at] ^= 1;
    bytes
}

/// An entry that says it has a terabyte.
fn beyond() -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path("vast").expect("path");
    header.set_size(1 << 40);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    header.as_bytes().to_vec()
}
