//! An OCI layout on disk with one image for one platform, or for two of which only one is this
//! machine's, or with a program for the sandbox of Pads.
//!
//! Documents as in the OCI image specification 1.1, sections "Image Layout", "Image Index" and
//! "Image Configuration", and in CNCF TAG Runtime's "Wasm OCI Artifact layout".

use std::fs;
use std::path::{Path, PathBuf};

use protocol::digest::Sha256Digest;
use serde_json::{Value, json};

use super::layer::{Layer, Packed, Packing};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Writes the layout into an empty directory. `process` is the `config` part of the image's
/// configuration.
pub fn write(directory: &Path, layers: Vec<Packed>, process: &Value, two_platforms: bool) {
    let blobs = Blobs(directory.join("blobs/sha256"));
    fs::create_dir_all(&blobs.0).unwrap();
    let image = blobs.image("amd64", layers, process);
    let image = if two_platforms {
        let other =
            Layer::new(Packing::Plain).file("README", 0o444, b"not for this machine\n").packed();
        let other = blobs.image("arm64", vec![other], process);
        blobs.add(
            INDEX,
            &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [other, image] }),
        )
    } else {
        image
    };
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [image] });
    fs::write(directory.join("index.json"), index.to_string()).unwrap();
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// Writes the layout of an artifact with this component into an empty directory, with the fields
/// that `wkg oci push` writes.
pub fn write_program(directory: &Path, component: &[u8]) {
    let blobs = Blobs(directory.join("blobs/sha256"));
    fs::create_dir_all(&blobs.0).unwrap();
    let layer = blobs.add_bytes("application/wasm", component);
    let config = json!({
        "created": "2026-02-03T10:11:12.131415161Z", "author": null, "architecture": "wasm",
        "os": "wasip2", "layerDigests": [layer["digest"]],
        "component": { "exports": ["run"], "imports": ["dstyx:pad/dataset@0.1.0"], "target": null },
    });
    let config = blobs.add("application/vnd.wasm.config.v0+json", &config);
    let manifest = blobs.add(
        MANIFEST,
        &json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer],
            "annotations": { "org.opencontainers.image.created": "2026-02-03T10:11:12Z" },
        }),
    );
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest] });
    fs::write(directory.join("index.json"), index.to_string()).unwrap();
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// The directory of what is named by its digest.
struct Blobs(PathBuf);

impl Blobs {
    /// Descriptor of a platform's manifest, which is written with all that it names.
    fn image(&self, architecture: &str, layers: Vec<Packed>, process: &Value) -> Value {
        let diff_ids: Vec<_> =
            layers.iter().map(|layer| format!("sha256:{}", layer.diff_id)).collect();
        let config = json!({
            "architecture": architecture, "os": "linux", "config": process,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = self.add(CONFIG, &config);
        let layers: Vec<_> =
            layers.iter().map(|layer| self.add_bytes(layer.media_type, &layer.bytes)).collect();
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        let mut descriptor = self.add(MANIFEST, &manifest);
        descriptor["platform"] = json!({ "architecture": architecture, "os": "linux" });
        descriptor
    }

    fn add(&self, media_type: &str, document: &Value) -> Value {
        self.add_bytes(media_type, document.to_string().as_bytes())
    }

    fn add_bytes(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Sha256Digest::of(bytes);
        fs::write(self.0.join(digest.to_string()), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len() })
    }
}
