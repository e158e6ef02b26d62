//! Index, manifest and configuration of a container image, and the documents of a program for the
//! sandbox of Pads: what is accepted keeps its budgets and can be acted upon, and nothing is both.
#![no_main]

use compose::digest::ContentDigest;
use container_images::{
    Document, HEADER_BYTES, MAX_LAYERS, MAX_PROGRAM_BYTES, check_artifact_config, check_component,
    parse_artifact, parse_config, parse_document,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(document) = parse_document(bytes) {
        match &document {
            Document::Index(manifest) => assert!(manifest.media_type.contains("manifest")),
            Document::Manifest { config, layers } => {
                assert!((1..=MAX_LAYERS).contains(&layers.len()));
                assert!(
                    config.media_type.contains("config") || config.media_type.contains("image")
                );
            }
        }
        assert_eq!(parse_document(bytes).ok(), Some(document));
    }
    if let Ok(artifact) = parse_artifact(bytes) {
        let size = artifact.component.size;
        assert!((HEADER_BYTES as u64..=MAX_PROGRAM_BYTES).contains(&size));
        assert!(parse_document(bytes).is_err(), "an image and a program");
    }
    let [one, other] = [0, 1].map(|byte| ContentDigest::from_bytes([byte; 32]));
    if check_artifact_config(bytes, one).is_ok() {
        assert!(check_artifact_config(bytes, other).is_err(), "two components");
    }
    if let Some(header) = bytes.first_chunk::<HEADER_BYTES>() {
        assert!(check_component(*header).is_err() || header.starts_with(b"\0asm\x0d"));
    }
    for layers in 0..3 {
        let Ok((config, diff_ids)) = parse_config(bytes, layers) else { continue };
        assert_eq!(diff_ids.len(), layers);
        assert!(parse_config(bytes, layers + 1).is_err());
        for volume in &config.volumes {
            assert!(volume.starts_with('/') && volume.split('/').all(|part| part != ".."));
        }
        assert!(config.labels.is_sorted());
        if let Some(health) = &config.health {
            assert!(health.test.as_ref().is_some_and(|test| !test.is_empty()));
        }
    }
});
