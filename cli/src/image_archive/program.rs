//! A program for the sandbox of Pads, kept as an OCI artifact beside the app.
//!
//! The layout is the one that registries and other tools know ("Wasm OCI Artifact layout" of CNCF's
//! TAG Runtime). It depends on the component's bytes alone, so the same component has the same
//! digest wherever it is pinned.

use std::fs;
use std::path::Path;

use compose::digest::ContentDigest;
use container_images::MAX_PROGRAM_BYTES;
use pad_component::Outside;
use serde::Serialize;

use super::{ArchiveError, Descriptor, MANIFEST, Manifest, digest_of, list};

/// Begins every file of WebAssembly.
const MAGIC: &[u8] = b"\0asm";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";
/// The layout wants a time; the component has none.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// The artifact's configuration. `os` is how the layout says that the layer is a component: this
/// one uses nothing of WASI.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config<'a> {
    created: &'static str,
    author: Option<&'static str>,
    architecture: &'static str,
    os: &'static str,
    layer_digests: [String; 1],
    component: Interfaces<'a>,
}

#[derive(Serialize)]
struct Interfaces<'a> {
    exports: &'a [String],
    imports: &'a [String],
    target: Option<&'static str>,
}

/// Whether the file at `path` is WebAssembly; one that cannot be read is none.
pub fn is_one(path: &Path) -> bool {
    use std::io::Read as _;
    let mut start = Vec::new();
    let regular = fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    let read = |file: fs::File| file.take(MAGIC.len() as u64).read_to_end(&mut start);
    regular && fs::File::open(path).and_then(read).is_ok() && start == MAGIC
}

/// Reads the component at `path`, adds its artifact to the layout `layout`, and gives the digest of
/// its manifest.
pub fn import(path: &Path, layout: &Path) -> Result<ContentDigest, ArchiveError> {
    if fs::metadata(path)?.len() > MAX_PROGRAM_BYTES {
        return Err(ArchiveError::TooMany("bytes of a program"));
    }
    let component = fs::read(path)?;
    let outside = pad_component::of_consumer(&component)?;
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let keep = |media_type: &str, bytes: &[u8]| {
        let digest = digest_of(bytes);
        fs::write(blobs.join(digest.hex()), bytes)?;
        let (media_type, size) = (media_type.to_owned(), bytes.len() as u64);
        Ok::<_, ArchiveError>(Descriptor { media_type, digest: digest.to_string(), size })
    };
    let layer = keep(LAYER, &component)?;
    let config = keep(CONFIG, &config(&layer.digest, &outside))?;
    let manifest =
        Manifest { schema_version: 2, media_type: MANIFEST, config, layers: vec![layer] };
    let manifest = serde_json::to_vec(&manifest).expect("strings and numbers serialise");
    let digest = digest_of(&manifest);
    fs::write(blobs.join(digest.hex()), &manifest)?;
    list(layout, digest, manifest.len() as u64)?;
    Ok(digest)
}

fn config(component: &str, outside: &Outside) -> Vec<u8> {
    let Outside { imports, exports } = outside;
    let config = Config {
        created: CREATED,
        author: None,
        architecture: "wasm",
        os: "wasip2",
        layer_digests: [component.to_owned()],
        component: Interfaces { exports, imports, target: None },
    };
    serde_json::to_vec(&config).expect("strings serialise")
}

#[cfg(test)]
mod tests {
    use container_images::{check_artifact_config, parse_artifact};

    use super::*;

    /// The smallest consumer: `run` takes nothing and gives nothing.
    fn consumer() -> Vec<u8> {
        let text = r#"(component
            (core module $m (func (export "run")))
            (core instance $i (instantiate $m))
            (func (export "run") (canon lift (core func $i "run"))))"#;
        wat::parse_str(text).unwrap()
    }

    #[test]
    fn a_component_becomes_an_artifact_that_a_guest_takes() {
        let directory = tempfile::tempdir().unwrap();
        let (file, layout) = (directory.path().join("mean.wasm"), directory.path().join("images"));
        fs::write(&file, consumer()).unwrap();
        assert!(is_one(&file));
        let digest = import(&file, &layout).unwrap();
        let blob = |digest: ContentDigest| fs::read(layout.join("blobs/sha256").join(digest.hex()));
        let artifact = parse_artifact(&blob(digest).unwrap()).unwrap();
        let config = blob(artifact.config.digest).unwrap();
        check_artifact_config(&config, artifact.component.digest).unwrap();
        assert_eq!(blob(artifact.component.digest).unwrap(), consumer());
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(config["component"]["exports"], serde_json::json!(["run"]));
        assert_eq!(import(&file, &layout).unwrap(), digest, "the same component, the same digest");
        let index = fs::read_to_string(layout.join("index.json")).unwrap();
        assert_eq!(index.matches(&digest.to_string()).count(), 1, "{index}");
    }

    #[test]
    fn what_is_no_component_is_refused_and_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (file, layout) = (directory.path().join("mean.wasm"), directory.path().join("images"));
        for (bytes, expected) in [
            (&b"\0asm\x01\0\0\0"[..], "a core module"),
            (b"\0asm\x0d\0\x01\0", "does not export `run`"),
            (b"\0asm\x0d\0\x01\0\xff", "no WebAssembly"),
        ] {
            fs::write(&file, bytes).unwrap();
            let error = import(&file, &layout).unwrap_err();
            assert!(protocol::error::chain(&error).contains(expected), "{error}");
        }
        assert!(!layout.exists());
        assert!(!is_one(directory.path()) && !is_one(&layout));
    }
}
