//! `image.json`: what is accepted is written in exactly one way, so that an image has one hash.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::digest::OsImageHash;
use protocol::image::ImageManifest;

fuzz_target!(|json: &[u8]| {
    let Ok(manifest) = ImageManifest::parse(json) else { return };
    assert_eq!(manifest.to_json(), json);
    assert_eq!(manifest.os_image_hash(), OsImageHash::of(json));
    for artefact in [&manifest.firmware, &manifest.kernel, &manifest.initrd] {
        assert!(!artefact.file.contains('/') && !artefact.file.is_empty());
    }
});
