//! Image indexes and manifests, as far as running an image needs them.
//!
//! Their digest was checked over the exact bytes before they come here, so what they say is what
//! was pinned; they are still hostile input. Sources: OCI image specification 1.1
//! (`image-index.md`, `manifest.md`) and Docker's "Image Manifest Version 2, Schema 2". Keys that
//! only describe (annotations, history) are skipped, as the specification demands.

use compose::digest::ContentDigest;
use serde::Deserialize;

use super::budget::MAX_LAYERS;

/// Media types that a registry is asked for.
pub(super) const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

const INDEX_TYPES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
const MANIFEST_TYPES: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
pub(super) const CONFIG_TYPES: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
/// The configuration of an artifact with WebAssembly, which is no image of a container.
pub(super) const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";

/// The one platform of the guest: operating system and architecture.
pub(super) const PLATFORM: (&str, &str) = ("linux", "amd64");

/// A blob by digest, with the size that it must have.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Its name.
    pub digest: ContentDigest,
    /// Its length in bytes.
    pub size: u64,
    platform: Option<Platform>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

/// How a layer's archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952, one member or more.
    Gzip,
    /// RFC 8878, one frame or more.
    Zstd,
}

/// A layer as a manifest lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Of the compressed bytes.
    pub digest: ContentDigest,
    /// Length of the compressed bytes.
    pub size: u64,
    /// What the media type says.
    pub compression: Compression,
}

/// What a digest of an image names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// An index: the manifest for this platform, with its size.
    Index(Descriptor),
    /// A manifest.
    Manifest {
        /// The image's configuration.
        config: Descriptor,
        /// 1 to [`MAX_LAYERS`], the lowest first.
        layers: Vec<Layer>,
    },
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
pub fn parse_document(bytes: &[u8]) -> Result<Document, ManifestError> {
    let raw: RawDocument = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
    if raw.schema_version != 2 {
        return Err(ManifestError::SchemaVersion(raw.schema_version));
    }
    let stated = |types: [&str; 2]| match &raw.media_type {
        Some(stated) if !types.contains(&stated.as_str()) => {
            Err(ManifestError::MediaType(stated.clone()))
        }
        _ => Ok(()),
    };
    match (raw.manifests, raw.config, raw.layers) {
        (Some(manifests), None, None) => {
            stated(INDEX_TYPES)?;
            Ok(Document::Index(for_platform(manifests)?))
        }
        (None, Some(config), Some(layers)) => {
            stated(MANIFEST_TYPES)?;
            if config.media_type == WASM_CONFIG {
                return Err(ManifestError::Program);
            }
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

/// The manifest for this platform; the one that asks least of the processor if there are several.
///
/// `platform` is optional (`image-index.md`): if none fits, the one manifest without it is taken
/// and judged by its configuration.
fn for_platform(manifests: Vec<Descriptor>) -> Result<Descriptor, ManifestError> {
    let (stated, unstated): (Vec<_>, Vec<_>) =
        manifests.into_iter().partition(|descriptor| descriptor.platform.is_some());
    let fitting = stated
        .into_iter()
        .filter_map(|descriptor| Some((demand(descriptor.platform.as_ref()?)?, descriptor)));
    let found = match (fitting.min_by_key(|(demand, _)| *demand), unstated.len()) {
        (Some((_, found)), _) => found,
        (None, 1) => unstated.into_iter().next().ok_or(ManifestError::NoPlatform)?,
        (None, _) => return Err(ManifestError::NoPlatform),
    };
    match MANIFEST_TYPES.contains(&found.media_type.as_str()) {
        true => Ok(found),
        false if INDEX_TYPES.contains(&found.media_type.as_str()) => {
            Err(ManifestError::NestedIndex)
        }
        false => Err(ManifestError::MediaType(found.media_type)),
    }
}

/// The level of x86-64 that a platform asks for; `None` if it is another platform. Machines with
/// TDX have all levels.
fn demand(platform: &Platform) -> Option<u8> {
    if (platform.os.as_str(), platform.architecture.as_str()) != PLATFORM {
        return None;
    }
    match platform.variant.as_deref() {
        None | Some("" | "v1") => Some(1),
        Some("v2") => Some(2),
        Some("v3") => Some(3),
        Some("v4") => Some(4),
        Some(_) => None,
    }
}

fn layer(descriptor: Descriptor) -> Result<Layer, ManifestError> {
    let compression = match descriptor.media_type.as_str() {
        "application/vnd.oci.image.layer.v1.tar"
        | "application/vnd.docker.image.rootfs.diff.tar" => Compression::None,
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Compression::Gzip,
        "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Compression::Zstd,
        _ => return Err(ManifestError::MediaType(descriptor.media_type)),
    };
    Ok(Layer { digest: descriptor.digest, size: descriptor.size, compression })
}

/// Why a pinned document describes no image that can be run here.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// it is not the JSON that the specification describes
    #[error("not an image document: {0}")]
    Json(serde_json::Error),
    /// docker's first schema, or one that does not exist yet
    #[error("schemaVersion is {0}, expected 2")]
    SchemaVersion(u32),
    /// the document, or what it points to, is of a kind that is not run
    #[error(
        "media type {0:?} is not an image, its configuration or a tar layer (plain, gzip, zstd)"
    )]
    MediaType(String),
    /// the digest names a program for the sandbox of Pads
    #[error("a program for the sandbox of Pads, whose service has platform: wasi/wasm")]
    Program,
    /// index and manifest in one, or neither
    #[error(
        "the document is neither an index (manifests) nor a manifest (config and layers) alone"
    )]
    Ambiguous,
    /// the index has nothing for this platform
    #[error("the index has no manifest for linux/amd64")]
    NoPlatform,
    /// an index points to an index
    #[error("the index points to another index")]
    NestedIndex,
    /// the configuration is for another platform
    #[error("the image is for {os}/{architecture}, expected linux/amd64")]
    Platform {
        /// Its operating system.
        os: String,
        /// Its architecture.
        architecture: String,
    },
    /// no layers, or too many
    #[error("{0} layers, expected 1 to {MAX_LAYERS}")]
    Layers(usize),
    /// configuration and manifest disagree
    #[error("the configuration names {diff_ids} layers, the manifest {layers}")]
    DiffIds {
        /// Layers in the manifest.
        layers: usize,
        /// Layers in the configuration.
        diff_ids: usize,
    },
    /// a volume is no absolute directory
    #[error("volume {0:?} is no absolute path below the root")]
    Volume(String),
    /// a health check is none
    #[error("health check {0:?} is neither NONE, CMD with arguments nor CMD-SHELL with one line")]
    Health(String),
    /// the layers are larger than allowed before they are fetched
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
        format!(
            r#"{{"mediaType":"{media_type}","digest":"sha256:{}","size":7{extra}}}"#,
            "0".repeat(64)
        )
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
            (
                CONFIG_TYPES[1],
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
                Compression::Gzip,
            ),
            (CONFIG_TYPES[1], "application/vnd.docker.image.rootfs.diff.tar", Compression::None),
            (
                CONFIG_TYPES[1],
                "application/vnd.docker.image.rootfs.diff.tar.zstd",
                Compression::Zstd,
            ),
        ] {
            let Document::Manifest { layers, .. } =
                parse_document(manifest(config, layer).as_bytes()).expect("manifest")
            else {
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
        assert!(matches!(parse_document(index.as_bytes()), Ok(Document::Index(_))));
    }

    #[test]
    fn one_manifest_without_a_platform_is_taken_where_no_other_fits() {
        let of = |platform: &str, size: u32| {
            descriptor(MANIFEST_TYPES[0], platform)
                .replace("\"size\":7", &format!("\"size\":{size}"))
        };
        let chosen = |manifests: &[String]| {
            let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, manifests.join(","));
            match parse_document(index.as_bytes()) {
                Ok(Document::Index(found)) => Some(found.size),
                _ => None,
            }
        };
        let amd64 = of(r#","platform":{"os":"linux","architecture":"amd64"}"#, 1);
        let arm64 = of(r#","platform":{"os":"linux","architecture":"arm64"}"#, 2);
        let (unstated, null) = (of("", 3), of(r#","platform":null"#, 4));
        assert_eq!(chosen(std::slice::from_ref(&unstated)), Some(3));
        assert_eq!(chosen(&[null]), Some(4));
        assert_eq!(chosen(&[arm64.clone(), unstated.clone()]), Some(3));
        assert_eq!(chosen(&[unstated.clone(), amd64]), Some(1));
        assert_eq!(chosen(&[unstated.clone(), unstated]), None);
        assert_eq!(chosen(&[arm64]), None);
    }

    #[test]
    fn the_variant_that_asks_least_is_chosen() {
        let of = |variant: &str, size: u32| {
            let platform =
                format!(r#","platform":{{"os":"linux","architecture":"amd64"{variant}}}"#);
            descriptor(MANIFEST_TYPES[0], &platform)
                .replace("\"size\":7", &format!("\"size\":{size}"))
        };
        let chosen = |manifests: &[String]| {
            let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, manifests.join(","));
            match parse_document(index.as_bytes()) {
                Ok(Document::Index(found)) => Some(found.size),
                _ => None,
            }
        };
        let [plain, v2, v3, v9] =
            ["", r#","variant":"v2""#, r#","variant":"v3""#, r#","variant":"v9""#];
        assert_eq!(chosen(&[of(v3, 3), of(v2, 2), of(plain, 1), of(plain, 4)]), Some(1));
        assert_eq!(chosen(&[of(v9, 9), of(v3, 3), of(v2, 2)]), Some(2));
        assert_eq!(chosen(&[of(v9, 9)]), None);
    }

    #[test]
    fn every_refusal_is_its_own() {
        let only_arm = format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            descriptor(MANIFEST_TYPES[0], r#","platform":{"os":"linux","architecture":"arm64"}"#)
        );
        let both = manifest(CONFIG_TYPES[0], OCI_LAYER)
            .replace("\"annotations\"", "\"manifests\":[],\"x\"");
        let lies = manifest(CONFIG_TYPES[0], OCI_LAYER)
            .replace("\"annotations\"", &format!("\"mediaType\":\"{}\",\"x\"", INDEX_TYPES[0]));
        for (text, expected) in [
            ("{", "not an image document"),
            (r#"{"schemaVersion":1}"#, "schemaVersion is 1"),
            (r#"{"schemaVersion":2}"#, "neither an index"),
            (&both, "neither an index"),
            (&lies, "media type"),
            (&only_arm, "no manifest for linux/amd64"),
            (&manifest(WASM_CONFIG, "application/wasm"), "whose service has platform: wasi/wasm"),
            (&manifest("text/plain", OCI_LAYER), "media type \"text/plain\""),
            (&manifest(CONFIG_TYPES[0], "text/plain"), "media type \"text/plain\""),
            (
                &format!(
                    r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#,
                    descriptor(CONFIG_TYPES[0], "")
                ),
                "0 layers",
            ),
        ] {
            let error = parse_document(text.as_bytes()).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
