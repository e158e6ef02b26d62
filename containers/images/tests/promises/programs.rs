//! Promise: a program for the sandbox of Pads enters the store as the pinned component, or is
//! refused by what is wrong with it and leaves nothing; an image of a container is none, and a
//! program no image.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use compose::ImageReference;
use compose::digest::ContentDigest;
use container_images::{
    Freed, Limits, MAX_PROGRAM_BYTES, Progress, PullError, PullReason, PulledProgram, Registries,
    Store, pull, pull_program,
};

use crate::image::{Archive, Blobs, digest};
use crate::registry::{Behaviour, mirrored, serve};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";

/// A component as far as the store looks at it.
fn component() -> Vec<u8> {
    [&b"\0asm\x0d\0\x01\0"[..], &[7; 5000]].concat()
}

fn descriptor(kind: &str, digest: ContentDigest, size: u64) -> String {
    format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}}}"#)
}

fn config(component: &[u8]) -> String {
    format!(r#"{{"architecture":"wasm","os":"wasip2","layerDigests":["{}"]}}"#, digest(component))
}

/// An artifact with this configuration and a layer of these bytes, its size as stated.
fn artifact(config: &str, layer: Vec<u8>, size: u64) -> (Blobs, String) {
    let mut blobs = Blobs::default();
    let layer = descriptor("application/wasm", blobs.add(layer), size);
    let stated = descriptor(CONFIG, blobs.add(config.into()), config.len() as u64);
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{stated},"layers":[{layer}]}}"#
    );
    (blobs, manifest)
}

fn good() -> (Blobs, String) {
    artifact(&config(&component()), component(), component().len() as u64)
}

/// A good artifact of other bytes than a component.
fn of(bytes: &[u8]) -> (Blobs, String) {
    artifact(&config(bytes), bytes.to_vec(), bytes.len() as u64)
}

fn with(from: &str, to: &str) -> (Blobs, String) {
    let (blobs, manifest) = good();
    assert!(manifest.contains(from), "{manifest}");
    (blobs, manifest.replacen(from, to, 1))
}

async fn from_mirror(
    blobs: Blobs,
    behaviour: Behaviour,
    pinned: ContentDigest,
    store: &Arc<Store>,
) -> Result<PulledProgram, PullError> {
    let mirror = serve(blobs, Behaviour::Honest, behaviour);
    let image = ImageReference::parse(&format!("example.org/mean@{pinned}")).expect("reference");
    let registries = Arc::new(Registries::new(mirrored(vec![mirror])).expect("mirror"));
    pull_program(&image, registries, Arc::clone(store), &Progress::default()).await
}

fn count(root: &Path, name: &str) -> usize {
    root.join(name).read_dir().expect(name).count()
}

fn open(root: &Path) -> Arc<Store> {
    Arc::new(Store::open(root).expect("store"))
}

#[tokio::test]
async fn a_program_is_the_pinned_component_and_is_fetched_once() {
    let root = tempfile::tempdir().expect("directory");
    let store = open(root.path());
    let (mut blobs, manifest) = good();
    let pinned = blobs.add(manifest.into_bytes());
    let first = from_mirror(blobs, Behaviour::Honest, pinned, &store).await.expect("pulled");
    assert_eq!(first.component, digest(&component()));
    assert_eq!(fs::read(&first.path).expect("component"), component());
    let nothing = || from_mirror(Blobs::default(), Behaviour::Honest, pinned, &store);
    assert_eq!(nothing().await.expect("nobody is asked").path, first.path);
    // What a store of another app needs goes, and what this one needs stays.
    let kept = store.collect(std::iter::empty(), [&first].into_iter()).expect("collected");
    assert_eq!(kept, Freed::default());
    fs::write(&first.path, b"changed on the disk").expect("file");
    let error = nothing().await.expect_err("a changed component does not count");
    assert_eq!(error.reason(), PullReason::NotFound);
    let (blobs, _) = good();
    let again = from_mirror(blobs, Behaviour::Honest, pinned, &store).await.expect("fetched anew");
    assert_eq!(fs::read(&again.path).expect("component"), component());
    let freed = store.collect(std::iter::empty(), std::iter::empty()).expect("collected");
    assert_eq!((freed.programs, freed.documents, freed.layers), (1, 2, 0));
    assert_eq!(count(root.path(), "programs"), 0);
}

/// Pulls into an empty store and asserts that it is empty afterwards.
async fn refusal(case: &str, (mut blobs, manifest): (Blobs, String), how: Behaviour) -> PullError {
    let root = tempfile::tempdir().expect("directory");
    let pinned = blobs.add(manifest.into_bytes());
    let store = open(root.path());
    let error = from_mirror(blobs, how, pinned, &store).await.expect_err(case);
    for name in ["layers", "programs", "documents", "partial"] {
        assert_eq!(count(root.path(), name), 0, "{case}: {name}");
    }
    error
}

// Long: a table, one row a case.
#[tokio::test]
async fn bad_programs_are_refused_by_what_is_wrong_with_them() {
    let two = descriptor("application/wasm", digest(b""), 9);
    let text = b"(component)".to_vec();
    let wrong = artifact(&config(b"another"), component(), component().len() as u64);
    let size = component().len() as u64;
    let cases = [
        ("two layers", with("\"layers\":[", &format!("\"layers\":[{two},")), "2 layers"),
        ("an empty configuration", artifact("{}", component(), size), "missing field"),
        ("no configuration at all", artifact("", component(), size), "not a document"),
        ("the empty type", with("vnd.wasm.config.v0", "vnd.oci.empty.v1"), "media type"),
        ("a layer of another type", with("application/wasm", "application/x"), "media type"),
        (
            "an older layer",
            with("application/wasm", "application/vnd.wasm.content.layer.v1+wasm"),
            "media type",
        ),
        (
            "for another architecture",
            artifact(&config(&component()).replace("\"wasm\"", "\"amd64\""), component(), size),
            "architecture",
        ),
        ("a configuration of another component", wrong, "layerDigests"),
        (
            "oversize",
            artifact(&config(&component()), component(), MAX_PROGRAM_BYTES + 1),
            "more than",
        ),
        ("longer than stated", artifact(&config(&component()), component(), size - 1), "announced"),
        ("nothing", of(b""), "not WebAssembly"),
        ("cut in its header", of(b"\0asm\x0d\0\x01"), "not WebAssembly"),
        ("a program of this machine", of(b"\x7fELF\x02\x01\x01\0\0"), "not WebAssembly"),
        ("text", of(&text), "not WebAssembly"),
        ("a core module", of(b"\0asm\x01\0\0\0"), "a core module"),
        ("a component of another version", of(b"\0asm\x0e\0\x01\0"), "version [0e"),
        ("an index", (good().0, r#"{"schemaVersion":2,"manifests":[]}"#.to_owned()), "an index"),
    ];
    for (case, image, expected) in cases {
        let error = refusal(case, image, Behaviour::Honest).await;
        assert!(error.to_string().contains(expected), "{case}: {error}");
        assert!(!error.is_passing(), "{case}");
    }
    let error = refusal("other bytes", good(), Behaviour::OtherBytes).await;
    assert_eq!(error.reason(), PullReason::Bytes, "{error}");
}

#[tokio::test]
async fn an_image_of_a_container_is_no_program_and_a_program_is_no_image() {
    let archive = Archive::default().file("mean.wasm", &component()).finish();
    let mut blobs = Blobs::default();
    let pinned = blobs.image(&[("tar", archive.clone(), archive)], "{}");
    let manifest = String::from_utf8(blobs.0[&pinned.to_string()].clone()).expect("JSON");
    let error = refusal("an image", (blobs, manifest), Behaviour::Honest).await;
    assert!(error.to_string().contains("an image of a container, expected an artifact"), "{error}");
    assert_eq!((error.reason(), error.blob()), (PullReason::Document, Some(pinned)));

    let root = tempfile::tempdir().expect("directory");
    let (mut blobs, manifest) = good();
    let pinned = blobs.add(manifest.into_bytes());
    let mirror = serve(blobs, Behaviour::Honest, Behaviour::Honest);
    let image = ImageReference::parse(&format!("example.org/app@{pinned}")).expect("reference");
    let registries = Arc::new(Registries::new(mirrored(vec![mirror])).expect("mirror"));
    let (store, progress) = (open(root.path()), Progress::default());
    let pulled = pull(&image, registries, store, Limits::default(), &progress).await;
    let error = pulled.expect_err("a program");
    assert!(error.to_string().contains("whose service has platform: wasi/wasm"), "{error}");
    assert_eq!(error.reason(), PullReason::Document);
}
