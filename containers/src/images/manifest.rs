//! Image indexes, manifests and configurations, as far as running an image needs them.
//!
//! Their digest was checked over the exact bytes before they come here, so what they say is what was
//! pinned; they are still hostile input. Sources: OCI image specification 1.1 (`image-index.md`,
//! `manifest.md`, `config.md`) and Docker's "Image Manifest Version 2, Schema 2". Keys that only describe
//! (annotations, history) are skipped, as the specification demands.

use serde::Deserialize;

use super::budget::MAX_LAYERS;
use crate::digest::ContentDigest;

/// Media types that a registry is asked for.
pub(super) const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

const INDEX_TYPES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
const MANIFEST_TYPES: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
const CONFIG_TYPES: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// The one platform of the guest.
const PLATFORM: (&str, &str) = ("linux", "amd64");

/// A blob by digest, with the size that it must have.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: ContentDigest,
    pub(super) size: u64,
    platform: Option<Platform>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

/// How a layer's archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

/// A layer as a manifest lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layer {
    pub(super) digest: ContentDigest,
    pub(super) size: u64,
    pub(super) compression: Compression,
}

/// What a digest of an image names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Document {
    /// An index: the manifest for this platform, with its size.
    Index(Descriptor),
    /// A manifest: configuration and layers, the lowest first.
    Manifest { config: Descriptor, layers: Vec<Layer> },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    schema_version: u32,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

/// Reads an index or a manifest; one that could be taken for either is refused.
pub(super) fn parse(bytes: &[u8]) -> Result<Document, ManifestError> {
    let raw: RawDocument = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
    if raw.schema_version != 2 {
        return Err(ManifestError::SchemaVersion(raw.schema_version));
    }
    let stated = |types: [&str; 2]| match &raw.media_type {
        Some(stated) if !types.contains(&stated.as_str()) => Err(ManifestError::MediaType(stated.clone())),
        _ => Ok(()),
    };
    match (raw.manifests, raw.config, raw.layers) {
        (Some(manifests), None, None) => {
            stated(INDEX_TYPES)?;
            Ok(Document::Index(for_platform(manifests)?))
        }
        (None, Some(config), Some(layers)) => {
            stated(MANIFEST_TYPES)?;
            if !CONFIG_TYPES.contains(&config.media_type.as_str()) {
                return Err(ManifestError::MediaType(config.media_type));
            }
            if layers.is_empty() || layers.len() > MAX_LAYERS {
                return Err(ManifestError::Layers(layers.len()));
            }
            let layers = layers.into_iter().map(layer).collect::<Result<_, _>>()?;
            Ok(Document::Manifest { config, layers })
        }
        _ => Err(ManifestError::Ambiguous),
    }
}

fn for_platform(manifests: Vec<Descriptor>) -> Result<Descriptor, ManifestError> {
    let fits = |descriptor: &Descriptor| {
        let platform = descriptor.platform.as_ref();
        platform.is_some_and(|p| (p.os.as_str(), p.architecture.as_str()) == PLATFORM)
    };
    let found = manifests.into_iter().find(fits).ok_or(ManifestError::NoPlatform)?;
    match MANIFEST_TYPES.contains(&found.media_type.as_str()) {
        true => Ok(found),
        false => Err(ManifestError::MediaType(found.media_type)),
    }
}

fn layer(descriptor: Descriptor) -> Result<Layer, ManifestError> {
    let compression = match descriptor.media_type.as_str() {
        "application/vnd.oci.image.layer.v1.tar" => Compression::None,
        "application/vnd.oci.image.layer.v1.tar+gzip" | "application/vnd.docker.image.rootfs.diff.tar.gzip" => {
            Compression::Gzip
        }
        "application/vnd.oci.image.layer.v1.tar+zstd" => Compression::Zstd,
        _ => return Err(ManifestError::MediaType(descriptor.media_type)),
    };
    Ok(Layer { digest: descriptor.digest, size: descriptor.size, compression })
}

/// What an image says about the process to run in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// `user[:group]`, names or numbers; empty for root.
    pub user: String,
    /// `NAME=value`.
    pub environment: Vec<String>,
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// The arguments after the entry point, or the whole command.
    pub command: Vec<String>,
    /// Where it starts; empty for `/`.
    pub working_dir: String,
    /// The signal that asks it to end, such as `SIGQUIT`.
    pub stop_signal: Option<String>,
}

#[derive(Deserialize)]
struct RawConfig {
    os: String,
    architecture: String,
    #[serde(default)]
    config: Option<RawProcess>,
    rootfs: RawRootfs,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RawProcess {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    stop_signal: Option<String>,
}

#[derive(Deserialize)]
struct RawRootfs {
    r#type: String,
    diff_ids: Vec<ContentDigest>,
}

/// Reads a configuration: the process, and the digest of each layer's uncompressed archive, lowest first.
pub(super) fn parse_config(bytes: &[u8], layers: usize) -> Result<(ImageConfig, Vec<ContentDigest>), ManifestError> {
    let raw: RawConfig = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
    if (raw.os.as_str(), raw.architecture.as_str()) != PLATFORM {
        return Err(ManifestError::Platform { os: raw.os, architecture: raw.architecture });
    }
    if raw.rootfs.r#type != "layers" || raw.rootfs.diff_ids.len() != layers {
        return Err(ManifestError::DiffIds { layers, diff_ids: raw.rootfs.diff_ids.len() });
    }
    let process = raw.config.unwrap_or_default();
    let config = ImageConfig {
        user: process.user.unwrap_or_default(),
        environment: process.env.unwrap_or_default(),
        entrypoint: process.entrypoint.unwrap_or_default(),
        command: process.cmd.unwrap_or_default(),
        working_dir: process.working_dir.unwrap_or_default(),
        stop_signal: process.stop_signal.filter(|signal| !signal.is_empty()),
    };
    Ok((config, raw.rootfs.diff_ids))
}

/// Why a pinned document describes no image that can be run here.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is not the JSON that the specification describes.
    #[error("not an image document: {0}")]
    Json(serde_json::Error),
    /// Docker's first schema, or one that does not exist yet.
    #[error("schemaVersion is {0}, expected 2")]
    SchemaVersion(u32),
    /// The document, or what it points to, is of a kind that is not run.
    #[error("media type {0:?} is not an image, its configuration or a tar layer (plain, gzip, zstd)")]
    MediaType(String),
    /// Index and manifest in one, or neither.
    #[error("the document is neither an index (manifests) nor a manifest (config and layers) alone")]
    Ambiguous,
    /// The index has nothing for this platform.
    #[error("the index has no manifest for linux/amd64")]
    NoPlatform,
    /// An index points to an index.
    #[error("the index points to another index")]
    NestedIndex,
    /// The configuration is for another platform.
    #[error("the image is for {os}/{architecture}, expected linux/amd64")]
    Platform {
        /// Its operating system.
        os: String,
        /// Its architecture.
        architecture: String,
    },
    /// No layers, or too many.
    #[error("{0} layers, expected 1 to {MAX_LAYERS}")]
    Layers(usize),
    /// Configuration and manifest disagree.
    #[error("the configuration names {diff_ids} layers, the manifest {layers}")]
    DiffIds {
        /// Layers in the manifest.
        layers: usize,
        /// Layers in the configuration.
        diff_ids: usize,
    },
    /// The layers are larger than allowed before they are fetched.
    #[error("the layers have {found} bytes, more than {limit}")]
    TooLarge {
        /// Their compressed size.
        found: u64,
        /// What is allowed.
        limit: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(media_type: &str, extra: &str) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"sha256:{}","size":7{extra}}}"#, "0".repeat(64))
    }

    fn manifest(config: &str, layer: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{}],"annotations":{{"a":"b"}}}}"#,
            descriptor(config, ""),
            descriptor(layer, "")
        )
    }

    const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

    #[test]
    fn both_families_are_read() {
        for (config, layer, compression) in [
            (CONFIG_TYPES[0], OCI_LAYER, Compression::Zstd),
            (CONFIG_TYPES[1], "application/vnd.docker.image.rootfs.diff.tar.gzip", Compression::Gzip),
        ] {
            let Document::Manifest { layers, .. } = parse(manifest(config, layer).as_bytes()).expect("manifest") else {
                panic!("index")
            };
            assert_eq!(layers[0].compression, compression);
        }
        let platform = r#","platform":{"os":"linux","architecture":"amd64","variant":"v2"}"#;
        let other = r#","platform":{"os":"linux","architecture":"arm64"}"#;
        let index = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{},{}]}}"#,
            INDEX_TYPES[0],
            descriptor(MANIFEST_TYPES[0], other),
            descriptor(MANIFEST_TYPES[0], platform)
        );
        assert!(matches!(parse(index.as_bytes()), Ok(Document::Index(_))));
    }

    #[test]
    fn every_refusal_is_its_own() {
        let only_arm = format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            descriptor(MANIFEST_TYPES[0], r#","platform":{"os":"linux","architecture":"arm64"}"#)
        );
        let both = manifest(CONFIG_TYPES[0], OCI_LAYER).replace("\"annotations\"", "\"manifests\":[],\"x\"");
        let lies = manifest(CONFIG_TYPES[0], OCI_LAYER)
            .replace("\"annotations\"", &format!("\"mediaType\":\"{}\",\"x\"", INDEX_TYPES[0]));
        for (text, expected) in [
            ("{", "not an image document"),
            (r#"{"schemaVersion":1}"#, "schemaVersion is 1"),
            (r#"{"schemaVersion":2}"#, "neither an index"),
            (&both, "neither an index"),
            (&lies, "media type"),
            (&only_arm, "no manifest for linux/amd64"),
            (&manifest("text/plain", OCI_LAYER), "media type \"text/plain\""),
            (&manifest(CONFIG_TYPES[0], "text/plain"), "media type \"text/plain\""),
            (&format!(r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#, descriptor(CONFIG_TYPES[0], "")), "0 layers"),
        ] {
            let error = parse(text.as_bytes()).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn configurations_must_fit_manifest_and_platform() {
        let text = r#"{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]},"config":null}"#;
        assert!(parse_config(text.as_bytes(), 0).is_ok());
        assert!(matches!(parse_config(text.as_bytes(), 1), Err(ManifestError::DiffIds { .. })));
        let arm = text.replace("amd64", "arm64");
        assert!(matches!(parse_config(arm.as_bytes(), 0), Err(ManifestError::Platform { .. })));
    }
}
