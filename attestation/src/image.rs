//! An image by which a guest is judged: the file that lists its parts, and the parts that the
//! verifier has.
//!
//! The bytes may be anybody's. Each part that is given is hashed, and the facts that the list
//! states about it are recomputed; facts about a part that is not given are believed as the list
//! states them, and [`Image::believed`] names those parts.

use measurement::dstack_image::{self, Checksums, DstackImageError, Metadata};
use measurement::{FactsError, FirmwareLayout, ImageFacts, ImageFiles, PartsAtHand};
use protocol::digest::OsImageHash;
use protocol::image::{Flavour, ImageError, ImageManifest, MachineFacts};

use crate::predictions::Predictions;
use crate::stated::StatedFirmware;

/// An image whose list could be read and whose given parts are those of the list. Where one judges
/// many guests, it keeps the registers that it was asked for last.
#[derive(Debug)]
pub struct Image {
    os_image_hash: OsImageHash,
    kind: Kind,
    predictions: Predictions,
}

/// The files of an image of dstyx that lie beside its image.json.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parts {
    /// The firmware file.
    pub firmware: Option<Vec<u8>>,
    /// The kernel file.
    pub kernel: Option<Vec<u8>>,
    /// The initial file system.
    pub initrd: Option<Vec<u8>>,
}

/// The files of a dstack image, all of which must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DstackParts {
    /// The firmware file.
    pub firmware: Vec<u8>,
    /// The kernel file.
    pub kernel: Vec<u8>,
    /// The initial file system.
    pub initrd: Vec<u8>,
}

#[derive(Debug)]
enum Kind {
    Ours(Box<ImageManifest>, Parts),
    DstackFiles(Box<Metadata>, DstackParts),
    /// dstack's `measurement.tdx.cbor`, whose image is not at hand.
    DstackMeasurement(Vec<u8>),
}

/// Why bytes are no image to judge by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageFault {
    /// an image.json that is none
    #[error(transparent)]
    Manifest(#[from] ImageError),
    /// files that are not those of a dstack image
    #[error(transparent)]
    Dstack(#[from] DstackImageError),
    /// parts from which no facts follow, or a list that contradicts them or itself
    #[error(transparent)]
    Facts(#[from] FactsError),
}

impl Image {
    /// Reads the exact bytes of an image.json, and recomputes what it states about the parts that
    /// are given.
    pub fn ours(json: &[u8], parts: Parts) -> Result<Self, ImageFault> {
        let manifest = ImageManifest::parse(json)?;
        ImageFacts::from_manifest(&manifest)?;
        let at_hand = PartsAtHand {
            firmware: parts.firmware.as_deref(),
            kernel: parts.kernel.as_deref(),
            initrd: parts.initrd.as_deref(),
        };
        ImageFacts::check_parts(&manifest, at_hand)?;
        let kind = Kind::Ours(Box::new(manifest), parts);
        Ok(Self::of(OsImageHash::of(json), kind))
    }

    /// A dstack image's checksum list, metadata and parts; each must be on the list.
    pub fn dstack(list: &[u8], metadata: &[u8], parts: DstackParts) -> Result<Self, ImageFault> {
        let checksums = Checksums::parse(list)?;
        checksums.check(dstack_image::METADATA_FILE, metadata)?;
        let metadata = Metadata::parse(metadata)?;
        checksums.check(&metadata.firmware, &parts.firmware)?;
        checksums.check(&metadata.kernel, &parts.kernel)?;
        checksums.check(&metadata.initrd, &parts.initrd)?;
        let kind = Kind::DstackFiles(Box::new(metadata), parts);
        Ok(Self::of(checksums.os_image_hash, kind))
    }

    /// A dstack image's checksum list and what it states of the image's measurements.
    pub fn dstack_measurement(list: &[u8], cbor: Vec<u8>) -> Result<Self, ImageFault> {
        let checksums = Checksums::parse(list)?;
        checksums.check(dstack_image::MEASUREMENT_FILE, &cbor)?;
        dstack_image::facts(&cbor)?;
        let kind = Kind::DstackMeasurement(cbor);
        Ok(Self::of(checksums.os_image_hash, kind))
    }

    fn of(os_image_hash: OsImageHash, kind: Kind) -> Self {
        Self { os_image_hash, kind, predictions: Predictions::default() }
    }

    /// The registers that were predicted from [`Self::facts`] before.
    pub(crate) fn predictions(&self) -> &Predictions {
        &self.predictions
    }

    /// The image's name: SHA-256 of the file that lists its parts.
    pub fn os_image_hash(&self) -> OsImageHash {
        self.os_image_hash
    }

    /// The file whose hash is the image's name.
    pub fn list(&self) -> &'static str {
        match &self.kind {
            Kind::Ours(..) => "image.json",
            Kind::DstackFiles(..) | Kind::DstackMeasurement(_) => dstack_image::CHECKSUMS_FILE,
        }
    }

    /// The parts that were not at hand, so that what the list states about them is believed.
    pub fn believed(&self) -> Vec<&'static str> {
        let parts = ["firmware", "kernel", "initrd"];
        let given = match &self.kind {
            Kind::Ours(_, Parts { firmware, kernel, initrd }) => {
                [firmware.is_some(), kernel.is_some(), initrd.is_some()]
            }
            Kind::DstackFiles(..) => [true; 3],
            Kind::DstackMeasurement(_) => [false; 3],
        };
        parts.into_iter().zip(given).filter(|(_, given)| !given).map(|(part, _)| part).collect()
    }

    /// Which of dstyx's images it is; dstack's are for hardware.
    pub fn flavour(&self) -> Flavour {
        self.manifest().map_or(Flavour::Release, |manifest| manifest.flavour)
    }

    /// Its image.json, if it is an image of dstyx.
    pub fn manifest(&self) -> Option<&ImageManifest> {
        match &self.kind {
            Kind::Ours(manifest, _) => Some(manifest),
            Kind::DstackFiles(..) | Kind::DstackMeasurement(_) => None,
        }
    }

    /// Whether its agent refuses reserved report data to containers.
    pub fn reserves_report_data(&self) -> bool {
        self.manifest().is_some_and(|manifest| manifest.reserved_report_data.is_some())
    }

    /// What every launch of an image of dstyx has.
    pub fn machine(&self) -> Option<&MachineFacts> {
        self.manifest().map(|manifest| &manifest.machine)
    }

    /// Whether the image says what its firmware measures.
    pub fn states_layout(&self) -> bool {
        match &self.kind {
            Kind::Ours(..) | Kind::DstackMeasurement(_) => true,
            Kind::DstackFiles(metadata, _) => metadata.layout.is_some(),
        }
    }

    /// What the image contributes to the registers; `proposed` is the layout that an event log
    /// has, taken only where nothing states one.
    pub fn facts(
        &self,
        stated: &StatedFirmware,
        proposed: Option<FirmwareLayout>,
    ) -> Result<ImageFacts<'_>, ImageFault> {
        let mut facts = match &self.kind {
            Kind::Ours(manifest, parts) => {
                let facts = ImageFacts::from_manifest(manifest)?;
                match &parts.kernel {
                    Some(kernel) => facts.with_kernel(kernel, manifest.initrd.size),
                    None => facts,
                }
            }
            Kind::DstackMeasurement(cbor) => dstack_image::facts(cbor)?,
            Kind::DstackFiles(metadata, DstackParts { firmware, kernel, initrd }) => {
                let layout = metadata.layout.or(proposed);
                let cmdline = &metadata.cmdline;
                ImageFacts::from_files(&ImageFiles { firmware, layout, kernel, initrd, cmdline })?
            }
        };
        if let Some(layout) = stated.layout {
            facts.firmware.layout = layout.name().to_owned();
        }
        facts.handoff_tables = stated.handoff_tables;
        Ok(facts)
    }
}
