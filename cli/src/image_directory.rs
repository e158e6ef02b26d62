//! Reads the directory of an image, dstyx's or dstack's, as far as its files are there.
//!
//! Nothing is judged here: [`attestation::Image`] says whether the files are an image's.

use std::path::Path;

use attestation::{DstackParts, Image, ImageFault, Parts};
use measurement::dstack_image::{self, Metadata};
use measurement::explain::OtherImage;
use measurement::{CommandLine, ImageFacts};
use protocol::image::{Flavour, ImageManifest};

use crate::failure::{Hint as _, Outcome};
use crate::files;

/// Largest firmware, kernel or initrd that is read: far above any real one, far below memory.
pub const MAX_FILE_BYTES: u64 = 1 << 30;
/// What to try with a directory whose files are not those of one image.
const AGAIN: &str = "build the image again: `dstyx build`";
const AS_PUBLISHED: &str = "take the image's directory as dstack published it";

/// Reads a directory; what it holds tells whose image it is.
pub fn read(path: &Path) -> Outcome<Image> {
    if path.join(dstack_image::CHECKSUMS_FILE).exists() && !path.join("image.json").exists() {
        return read_dstack(path);
    }
    let json = files::read_image_json(path)?;
    let manifest = ImageManifest::parse(&json).hint(path.join("image.json").display(), AGAIN)?;
    let part = |file: &str| {
        let file = path.join(file);
        file.exists().then(|| files::read_bounded(&file, MAX_FILE_BYTES)).transpose()
    };
    let parts = Parts {
        firmware: part(&manifest.firmware.file)?,
        kernel: part(&manifest.kernel.file)?,
        initrd: part(&manifest.initrd.file)?,
    };
    Image::ours(&json, parts).hint(path.display(), AGAIN)
}

fn read_dstack(path: &Path) -> Outcome<Image> {
    let read = |file: &str, limit: u64| files::read_bounded(&path.join(file), limit);
    let list = read(dstack_image::CHECKSUMS_FILE, dstack_image::MAX_CHECKSUMS_BYTES as u64)?;
    let image = match metadata(path)? {
        Some((json, metadata)) if path.join(&metadata.kernel).exists() => {
            let parts = DstackParts {
                firmware: read(&metadata.firmware, MAX_FILE_BYTES)?,
                kernel: read(&metadata.kernel, MAX_FILE_BYTES)?,
                initrd: read(&metadata.initrd, MAX_FILE_BYTES)?,
            };
            Image::dstack(&list, &json, parts)
        }
        _ => {
            let limit = dstack_image::MAX_MEASUREMENT_BYTES as u64;
            Image::dstack_measurement(&list, read(dstack_image::MEASUREMENT_FILE, limit)?)
        }
    };
    image.hint(path.display(), AS_PUBLISHED)
}

/// The bytes of a dstack image's metadata, and what they say.
fn metadata(path: &Path) -> Outcome<Option<(Vec<u8>, Metadata)>> {
    let file = path.join(dstack_image::METADATA_FILE);
    if !file.exists() {
        return Ok(None);
    }
    let json = files::read_bounded(&file, dstack_image::MAX_METADATA_BYTES as u64)?;
    let metadata = Metadata::parse(&json).hint(path.display(), AS_PUBLISHED)?;
    Ok(Some((json, metadata)))
}

/// Images that may have been started instead: the other flavour beside it, and its command line.
pub fn others(path: &Path, image: &Image) -> Vec<OtherImage<'static>> {
    let Some(manifest) = image.manifest() else { return Vec::new() };
    let flavour = match manifest.flavour {
        Flavour::Release => Flavour::Dev,
        Flavour::Dev => Flavour::Release,
    };
    let beside = path.parent().map(|parent| parent.join(flavour.name()));
    let sibling = beside.and_then(|directory| files::read_manifest(&directory).ok());
    let sibling = sibling.and_then(|(manifest, _)| ImageFacts::from_manifest(&manifest).ok());
    let other = sibling.or_else(|| {
        let mut other = ImageFacts::from_manifest(manifest).ok()?;
        other.cmdline = CommandLine::Text(image::cmdline::line(flavour));
        Some(other)
    });
    let name = format!("the {} image", flavour.name());
    other.map(|facts| OtherImage { name, facts }).into_iter().collect()
}

/// An image that has no facts; its files were all read before.
pub fn unusable(path: &Path, fault: &ImageFault) -> crate::failure::Failure {
    crate::failure::Failure::new(format!("{}: {fault}", path.display()), AGAIN)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use attestation::StatedFirmware;

    use super::*;

    /// A directory with the files that dstack's own evidence carries.
    fn dstack_directory() -> tempfile::TempDir {
        use base64::Engine as _;
        let text = include_str!("../../tests/vectors/measurement/dstack-0.6-2cpu-2GiB.json");
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        let config: serde_json::Value =
            serde_json::from_str(value["vm_config"].as_str().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        for (key, file) in
            [("checksum_file", "sha256sum.txt"), ("measurement", "measurement.tdx.cbor")]
        {
            let part = config["tdx_measurement"][key].as_str().unwrap();
            let bytes = base64::engine::general_purpose::STANDARD.decode(part).unwrap();
            fs::write(directory.path().join(file), bytes).unwrap();
        }
        directory
    }

    #[test]
    fn dstacks_measurement_file_is_an_image_if_its_list_names_it() {
        let directory = dstack_directory();
        let image = read(directory.path()).unwrap();
        assert!(image.os_image_hash().to_string().starts_with("e6f5cfec"));
        let facts = image.facts(&StatedFirmware::default(), None).unwrap();
        assert_eq!(facts.firmware.layout, "edk2-2025.02");
        assert_eq!(facts.firmware.td_hob_base, 0x80_9000);

        let file = directory.path().join("measurement.tdx.cbor");
        let mut bytes = fs::read(&file).unwrap();
        bytes[20] ^= 1;
        fs::write(&file, bytes).unwrap();
        let error = read(directory.path()).unwrap_err();
        assert!(error.to_string().contains("sha256sum.txt lists 8c9e955f"), "{error}");
    }
}
