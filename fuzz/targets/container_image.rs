//! Index, manifest and configuration of a container image: what is accepted keeps its budgets and
//! can be acted upon.
#![no_main]

use container_images::{Document, MAX_LAYERS, parse_config, parse_document};
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
