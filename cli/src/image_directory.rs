//! A directory with an image, ours or dstack's: its facts, its name, and which other images may be
//! confused with it.

use std::path::{Path, PathBuf};

use measurement::dstack_image::{self, Checksums, Metadata};
use measurement::explain::OtherImage;
use measurement::{CommandLine, FirmwareLayout, ImageFacts, ImageFiles};
use protocol::digest::{OsImageHash, Sha384Digest};
use protocol::image::{Flavour, ImageManifest, MachineFacts};

use crate::args::FirmwareFlags;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::files;

/// Largest firmware, kernel or initrd that is read: far above any real one, far below memory.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// An image whose files are read and agree with the list that names it.
#[derive(Debug)]
pub struct ImageDirectory {
    /// Hash of the file that lists its parts: our image.json, dstack's sha256sum.txt.
    pub os_image_hash: OsImageHash,
    kind: Kind,
    path: PathBuf,
}

#[derive(Debug)]
enum Kind {
    Ours(Box<ImageManifest>),
    /// All files of a dstack image.
    DstackFiles(Box<DstackFiles>),
    /// dstack's `measurement.tdx.cbor`, whose image is not at hand.
    DstackMeasurement(Vec<u8>),
}

#[derive(Debug)]
struct DstackFiles {
    metadata: Metadata,
    firmware: Vec<u8>,
    kernel: Vec<u8>,
    initrd: Vec<u8>,
}

impl ImageDirectory {
    /// Reads a directory; what it holds tells whose image it is.
    pub fn read(path: &Path) -> Outcome<Self> {
        if path.join(dstack_image::CHECKSUMS_FILE).exists() && !path.join("image.json").exists() {
            return Self::read_dstack(path);
        }
        let (manifest, os_image_hash) = files::read_manifest(path)?;
        Ok(Self { os_image_hash, kind: Kind::Ours(Box::new(manifest)), path: path.to_owned() })
    }

    fn read_dstack(path: &Path) -> Outcome<Self> {
        const HINT: &str = "take the image's directory as dstack published it";
        let read = |file: &str, limit: usize| files::read_bounded(&path.join(file), limit as u64);
        let list = read(dstack_image::CHECKSUMS_FILE, dstack_image::MAX_CHECKSUMS_BYTES)?;
        let checksums = Checksums::parse(&list).hint(path.display(), HINT)?;
        let listed = |file: &str, limit: usize| {
            let bytes = read(file, limit)?;
            checksums.check(file, &bytes).hint(path.display(), HINT)?;
            Ok(bytes)
        };
        let metadata = match path.join(dstack_image::METADATA_FILE).exists() {
            true => {
                let json = listed(dstack_image::METADATA_FILE, dstack_image::MAX_METADATA_BYTES)?;
                Some(Metadata::parse(&json).hint(path.display(), HINT)?)
            }
            false => None,
        };
        let kind = match metadata.filter(|metadata| path.join(&metadata.kernel).exists()) {
            Some(metadata) => Kind::DstackFiles(Box::new(DstackFiles {
                firmware: listed(&metadata.firmware, MAX_FILE_BYTES as usize)?,
                kernel: listed(&metadata.kernel, MAX_FILE_BYTES as usize)?,
                initrd: listed(&metadata.initrd, MAX_FILE_BYTES as usize)?,
                metadata,
            })),
            None => Kind::DstackMeasurement(listed(
                dstack_image::MEASUREMENT_FILE,
                dstack_image::MAX_MEASUREMENT_BYTES,
            )?),
        };
        Ok(Self { os_image_hash: checksums.os_image_hash, kind, path: path.to_owned() })
    }

    /// The file whose hash is the image's name.
    pub fn list(&self) -> &'static str {
        match &self.kind {
            Kind::Ours(_) => "image.json",
            Kind::DstackFiles(_) | Kind::DstackMeasurement(_) => dstack_image::CHECKSUMS_FILE,
        }
    }

    /// Which of our images it is; dstack's are for hardware.
    pub fn flavour(&self) -> Flavour {
        match &self.kind {
            Kind::Ours(manifest) => manifest.flavour,
            Kind::DstackFiles(_) | Kind::DstackMeasurement(_) => Flavour::Release,
        }
    }

    /// What every launch of one of our images has.
    pub fn machine(&self) -> Option<&MachineFacts> {
        match &self.kind {
            Kind::Ours(manifest) => Some(&manifest.machine),
            Kind::DstackFiles(_) | Kind::DstackMeasurement(_) => None,
        }
    }

    /// Whether it says what its firmware measures.
    pub fn states_layout(&self) -> bool {
        match &self.kind {
            Kind::Ours(_) | Kind::DstackMeasurement(_) => true,
            Kind::DstackFiles(files) => files.metadata.layout.is_some(),
        }
    }

    /// Its facts; `proposed` is the layout that an event log has, taken only where nothing states
    /// one.
    pub fn facts(
        &self,
        flags: &FirmwareFlags,
        proposed: Option<FirmwareLayout>,
    ) -> Outcome<ImageFacts<'_>> {
        const AGAIN: &str = "build the image again: `dstyx build`";
        let mut facts = match &self.kind {
            Kind::Ours(manifest) => {
                ImageFacts::from_manifest(manifest).hint(self.path.display(), AGAIN)?
            }
            Kind::DstackMeasurement(cbor) => dstack_image::facts(cbor)
                .hint(self.path.display(), "take the file as dstack published it")?,
            Kind::DstackFiles(files) => {
                files.facts(layout(flags)?.or(files.metadata.layout).or(proposed))?
            }
        };
        if let Some(layout) = layout(flags)? {
            facts.firmware.layout = layout.name().to_owned();
        }
        facts.handoff_tables = handoff_tables(flags)?;
        Ok(facts)
    }

    /// Images that may have been started instead: the other flavour beside it, and its command
    /// line.
    pub fn others(&self, facts: &ImageFacts<'_>) -> Vec<OtherImage<'static>> {
        let Kind::Ours(manifest) = &self.kind else { return Vec::new() };
        let (flavour, name) = match manifest.flavour {
            Flavour::Release => (Flavour::Dev, "dev"),
            Flavour::Dev => (Flavour::Release, "release"),
        };
        let beside = self.path.parent().map(|parent| parent.join(name));
        let sibling = beside.and_then(|directory| files::read_manifest(&directory).ok());
        let sibling = sibling.and_then(|(manifest, _)| ImageFacts::from_manifest(&manifest).ok());
        let other = sibling.or_else(|| {
            let mut other = ImageFacts::from_manifest(manifest).ok()?;
            other.firmware.layout.clone_from(&facts.firmware.layout);
            other.cmdline = CommandLine::Text(image::cmdline::line(flavour));
            Some(other)
        });
        other
            .map(|facts| OtherImage { name: format!("the {name} image"), facts })
            .into_iter()
            .collect()
    }
}

impl DstackFiles {
    fn facts(&self, layout: Option<FirmwareLayout>) -> Outcome<ImageFacts<'_>> {
        let Self { metadata, firmware, kernel, initrd } = self;
        let layout = layout.ok_or_else(no_layout)?;
        let files = ImageFiles { firmware, layout, kernel, initrd, cmdline: &metadata.cmdline };
        ImageFacts::from_files(&files)
            .hint("measuring the image", "take the image's directory as dstack published it")
    }
}

/// The layout that a person stated.
pub fn layout(flags: &FirmwareFlags) -> Outcome<Option<FirmwareLayout>> {
    let parsed = flags.layout.as_deref().map(FirmwareLayout::from_name).transpose();
    parsed.hint("--layout", "give one of the known layouts")
}

/// The reference that a person stated for what cannot be computed.
pub fn handoff_tables(flags: &FirmwareFlags) -> Outcome<Option<Sha384Digest>> {
    let parsed = flags.handoff_tables.as_deref().map(Sha384Digest::from_hex).transpose();
    parsed.hint("--handoff-tables", "give 96 lower-case hexadecimal digits")
}

/// A firmware file does not say what it measures.
pub fn no_layout() -> Failure {
    let names = FirmwareLayout::ALL.map(FirmwareLayout::name).join(" or ");
    Failure::new(
        "nothing says which events this firmware measures into RTMR0",
        format!(
            "state --layout {names}: up to edk2's stable tag 2025.02 the first, from 2025.05 on the second"
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use protocol::digest::Sha256Digest;

    use super::*;

    const NO_FLAGS: FirmwareFlags = FirmwareFlags { layout: None, handoff_tables: None };

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
        let image = ImageDirectory::read(directory.path()).unwrap();
        assert!(image.os_image_hash.to_string().starts_with("e6f5cfec"));
        let facts = image.facts(&NO_FLAGS, None).unwrap();
        assert_eq!(facts.firmware.layout, "edk2-2025.02");
        assert_eq!(facts.firmware.td_hob_base, 0x80_9000);

        let file = directory.path().join("measurement.tdx.cbor");
        let mut bytes = fs::read(&file).unwrap();
        bytes[20] ^= 1;
        fs::write(&file, bytes).unwrap();
        let error = ImageDirectory::read(directory.path()).unwrap_err();
        assert!(error.to_string().contains("sha256sum.txt lists 8c9e955f"), "{error}");
    }

    #[test]
    fn a_layout_that_nobody_states_is_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let metadata =
            br#"{"bios":"ovmf.fd","kernel":"bzImage","initrd":"initrd","cmdline":"quiet"}"#;
        let files: [(&str, &[u8]); 4] =
            [("metadata.json", metadata), ("ovmf.fd", b"f"), ("bzImage", b"k"), ("initrd", b"i")];
        let mut list = String::new();
        for (name, bytes) in files {
            fs::write(directory.path().join(name), bytes).unwrap();
            list += &format!("{}  {name}\n", Sha256Digest::of(bytes));
        }
        fs::write(directory.path().join("sha256sum.txt"), &list).unwrap();
        let image = ImageDirectory::read(directory.path()).unwrap();
        let error = image.facts(&NO_FLAGS, None).unwrap_err();
        assert!(error.hint.contains("--layout edk2-2025.02 or edk2-2025.05"), "{}", error.hint);
        let stated = FirmwareFlags { layout: Some("edk2-2025.02".into()), handoff_tables: None };
        let error = image.facts(&stated, None).unwrap_err();
        assert!(error.to_string().contains("firmware"), "{error}");
    }
}
