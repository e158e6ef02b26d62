//! The documents of a program for the sandbox of Pads, and the first bytes of its component.
//!
//! Their digests were checked before they come here, so what they say is what was pinned; they are
//! still hostile input. Source: CNCF TAG Runtime, "Wasm OCI Artifact layout": a manifest whose
//! configuration is of the type for WebAssembly, and one layer, which is the file itself. What the
//! configuration tells of authors, times, WASI and interfaces describes only; the sandbox looks at
//! the component itself.

use compose::digest::ContentDigest;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::budget::MAX_PROGRAM_BYTES;
use super::manifest::{CONFIG_TYPES, Descriptor, WASM_CONFIG};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYER: &str = "application/wasm";
const ARCHITECTURE: &str = "wasm";

/// Begins every file of WebAssembly, before its version and layer (component model, `Binary.md`).
const MAGIC: [u8; 4] = *b"\0asm";
/// Version and layer of a component.
const COMPONENT: [u8; 4] = [0x0d, 0, 1, 0];
/// Version and layer of a core module.
const MODULE: [u8; 4] = [1, 0, 0, 0];
/// What [`check_component`] looks at.
pub const HEADER_BYTES: usize = 8;

/// A program as its manifest lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The configuration, which names the component again.
    pub config: Descriptor,
    /// The component, of [`HEADER_BYTES`] to [`MAX_PROGRAM_BYTES`].
    pub component: Descriptor,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawArtifact {
    schema_version: u32,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawConfig {
    architecture: String,
    layer_digests: Vec<ContentDigest>,
}

/// Reads the manifest of a program.
pub fn parse_artifact(bytes: &[u8]) -> Result<Artifact, ArtifactError> {
    let raw: RawArtifact = serde_json::from_slice(bytes).map_err(ArtifactError::Json)?;
    if raw.schema_version != 2 {
        return Err(ArtifactError::SchemaVersion(raw.schema_version));
    }
    let (config, layers) = match (raw.manifests, raw.config, raw.layers) {
        (None, Some(config), Some(layers)) => (config, layers),
        (Some(_), None, None) => return Err(ArtifactError::Index),
        _ => return Err(ArtifactError::Ambiguous),
    };
    if CONFIG_TYPES.contains(&config.media_type.as_str()) {
        return Err(ArtifactError::Container);
    }
    if let Some(stated) = raw.media_type.filter(|stated| stated != MANIFEST) {
        return Err(ArtifactError::MediaType { found: stated, expected: MANIFEST });
    }
    of_type(&config, WASM_CONFIG)?;
    let [component] = <[Descriptor; 1]>::try_from(layers)
        .map_err(|layers| ArtifactError::Layers(layers.len()))?;
    of_type(&component, LAYER)?;
    if component.size > MAX_PROGRAM_BYTES {
        return Err(ArtifactError::TooLarge(component.size));
    }
    if component.size < HEADER_BYTES as u64 {
        return Err(ArtifactError::NotWasm);
    }
    Ok(Artifact { config, component })
}

fn of_type(descriptor: &Descriptor, expected: &'static str) -> Result<(), ArtifactError> {
    match descriptor.media_type == expected {
        true => Ok(()),
        false => Err(ArtifactError::MediaType { found: descriptor.media_type.clone(), expected }),
    }
}

/// Reads the configuration of a program, which has to name the manifest's component and no other.
pub fn check_artifact_config(bytes: &[u8], component: ContentDigest) -> Result<(), ArtifactError> {
    let raw: RawConfig = serde_json::from_slice(bytes).map_err(ArtifactError::Json)?;
    if raw.architecture != ARCHITECTURE {
        return Err(ArtifactError::Architecture(raw.architecture));
    }
    match raw.layer_digests.as_slice() {
        [one] if *one == component => Ok(()),
        _ => Err(ArtifactError::LayerDigests(component)),
    }
}

/// Whether a file that begins with `header` is a component.
pub fn check_component(header: [u8; HEADER_BYTES]) -> Result<(), ArtifactError> {
    let [magic @ .., _, _, _, _] = header;
    let [_, _, _, _, kind @ ..] = header;
    match (magic == MAGIC, kind) {
        (true, COMPONENT) => Ok(()),
        (true, MODULE) => Err(ArtifactError::Module),
        (true, _) => Err(ArtifactError::Version(kind)),
        (false, _) => Err(ArtifactError::NotWasm),
    }
}

/// Why a pinned artifact is no program for the sandbox of Pads.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// it is not the JSON that the layout describes
    #[error("not a document of a program: {0}")]
    Json(serde_json::Error),
    /// docker's first schema, or one that does not exist yet
    #[error("schemaVersion is {0}, expected 2")]
    SchemaVersion(u32),
    /// an index, which could lead to another program on another machine
    #[error("an index, expected the digest of a program's manifest")]
    Index,
    /// index and manifest in one, or neither
    #[error("the document is no manifest (config and layers) alone")]
    Ambiguous,
    /// the digest names an image that a container is made of
    #[error("an image of a container, expected an artifact with a program (platform: wasi/wasm)")]
    Container,
    /// a document or the layer is of another kind
    #[error("media type {found:?}, expected {expected:?}")]
    MediaType {
        /// The type that is stated.
        found: String,
        /// The one that the layout has there.
        expected: &'static str,
    },
    /// no layer, or several
    #[error("{0} layers, expected one component")]
    Layers(usize),
    /// the component is larger than the sandbox takes
    #[error("the component has {0} bytes, more than {MAX_PROGRAM_BYTES}")]
    TooLarge(u64),
    /// the configuration is for something else than WebAssembly
    #[error("the configuration is for architecture {0:?}, expected {ARCHITECTURE:?}")]
    Architecture(String),
    /// configuration and manifest disagree
    #[error("the configuration's layerDigests are not {0} alone")]
    LayerDigests(ContentDigest),
    /// the layer is a module without the interfaces of a component
    #[error("the layer is a core module, expected a component (`dstyx pad component` makes one)")]
    Module,
    /// the layer is WebAssembly of another version
    #[error("the layer has the version {0:02x?} of WebAssembly, expected {COMPONENT:02x?}")]
    Version([u8; 4]),
    /// the layer is something else
    #[error("the layer is not WebAssembly")]
    NotWasm,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `wkg oci push` makes of a component, the names of its interfaces apart.
    const WKG: &str = include_str!("../../../tests/vectors/oci/wasm-manifest.json");
    const WKG_CONFIG: &str = include_str!("../../../tests/vectors/oci/wasm-config.json");

    #[test]
    fn what_public_tools_make_is_read() {
        let artifact = parse_artifact(WKG.as_bytes()).expect("manifest");
        assert_eq!(artifact.component.size, 18_432);
        check_artifact_config(WKG_CONFIG.as_bytes(), artifact.component.digest).expect("config");
    }

    #[test]
    fn every_refusal_is_its_own() {
        let other = format!("sha256:{}", "0".repeat(64));
        let layer = format!(r#"{{"mediaType":"application/wasm","digest":"{other}","size":9}}"#);
        for (from, to, expected) in [
            ("{", "[", "not a document of a program"),
            ("\"schemaVersion\": 2", "\"schemaVersion\": 1", "schemaVersion is 1"),
            ("\"layers\"", "\"manifests\": [], \"layers\"", "no manifest (config and layers)"),
            ("\"layers\"", "\"blobs\"", "no manifest (config and layers)"),
            ("\"layers\"", "\"layers\": [], \"layers\"", "duplicate field"),
            ("vnd.wasm.config.v0", "vnd.oci.image.config.v1", "an image of a container"),
            ("vnd.wasm.config.v0+json", "vnd.docker.container.image.v1+json", "an image of a"),
            ("vnd.wasm.config.v0+json", "vnd.oci.empty.v1+json", "expected \"application/vnd.wasm"),
            ("vnd.wasm.config.v0", "vnd.wasm.config.v1", "expected \"application/vnd.wasm"),
            (
                "vnd.oci.image.manifest.v1",
                "vnd.oci.image.index.v1",
                "expected \"application/vnd.oci",
            ),
            (
                "\"application/wasm\"",
                "\"application/octet-stream\"",
                "expected \"application/wasm\"",
            ),
            ("\"layers\": [", &format!("\"layers\": [{layer},"), "2 layers, expected one"),
            ("\"size\": 18432", "\"size\": 67108865", "67108865 bytes, more than 67108864"),
            ("\"size\": 18432", "\"size\": 7", "the layer is not WebAssembly"),
            ("\"size\": 18432", "\"size\": -1", "not a document of a program"),
            ("sha256:", "sha512:", "does not start with \"sha256:\""),
        ] {
            assert!(WKG.contains(from), "{from}");
            let error = parse_artifact(WKG.replacen(from, to, 1).as_bytes()).expect_err(to);
            assert!(error.to_string().contains(expected), "{to}: {error}");
        }
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        assert!(matches!(parse_artifact(index.as_bytes()), Err(ArtifactError::Index)));
        let none = WKG.split_once("\"layers\"").expect("layers").0.to_owned() + "\"layers\": []}";
        assert!(matches!(parse_artifact(none.as_bytes()), Err(ArtifactError::Layers(0))));
    }

    #[test]
    fn a_configuration_names_the_component_and_is_for_webassembly() {
        let component = parse_artifact(WKG.as_bytes()).expect("manifest").component.digest;
        let other = ContentDigest::from_bytes([7; 32]);
        for (text, expected) in [
            ("{}".to_owned(), "missing field"),
            (WKG_CONFIG.replace("\"wasm\"", "\"amd64\""), "architecture \"amd64\", expected"),
            (WKG_CONFIG.replace(&component.to_string(), &other.to_string()), "are not sha256:"),
            (
                WKG_CONFIG
                    .replace("\"layerDigests\": [", &format!("\"layerDigests\": [\"{other}\",")),
                "are not",
            ),
            (WKG_CONFIG.replace(&format!("\"{component}\""), ""), "are not sha256:"),
        ] {
            let error = check_artifact_config(text.as_bytes(), component).expect_err(&text);
            assert!(error.to_string().contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn only_a_component_is_one() {
        check_component(*b"\0asm\x0d\0\x01\0").expect("a component");
        for (header, expected) in [
            (b"\0asm\x01\0\0\0", "a core module"),
            (b"\0asm\x0e\0\x01\0", "version [0e, 00, 01, 00]"),
            (b"\0asn\x0d\0\x01\0", "not WebAssembly"),
            (b"\x7fELF\x02\x01\x01\0", "not WebAssembly"),
            (b"(compone", "not WebAssembly"),
        ] {
            let error = check_component(*header).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
