//! `image.json`: what an image consists of and what its parts measure to. Its SHA-256 is the
//! os-image-hash.
//!
//! A verifier who trusts an image.json can predict every register for a stated shape from it alone,
//! in milliseconds; whoever rebuilds the image gets the same bytes of this file.

use serde::{Deserialize, Serialize};

use crate::digest::{Mrtd, OsImageHash, Rtmr, Sha256Digest, Sha384Digest};
use crate::strict_json;

/// The only version.
pub const VERSION: u32 = 1;
/// Version of the reserved tags of report data that this project's guests keep from containers
/// (see [`crate::report_data`]).
pub const RESERVED_REPORT_DATA: u32 = 1;
/// Largest file; a real one has about 3 KiB.
pub const MAX_BYTES: usize = 64 * 1024;
/// Most ranges that a firmware's TD HOB accepts before boot; IntelTdxX64 has 4.
pub const MAX_ACCEPTED_RANGES: usize = 32;
/// Most bytes of a command line.
pub const MAX_CMDLINE_BYTES: usize = crate::cmdline::MAX_BYTES;

/// Why an image.json was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// not the JSON of an image manifest
    #[error("image.json: {0}")]
    Json(#[from] strict_json::JsonError),
    /// a value out of range
    #[error("image.json: {field}: {what}")]
    Field {
        /// The key.
        field: &'static str,
        /// What is wrong.
        what: String,
    },
    /// other bytes than this program writes for the same content, which would be a second hash of
    /// one image
    #[error(
        "image.json: not in the form that dstyx writes; take the original file, its hash names the image"
    )]
    NotCanonical,
}

/// Which of the two images this is; programs are the same, kernel and measurements differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// For TDX hardware: no console, no emulated device.
    Release,
    /// For any machine: serial console, emulated TDX device and its root. Proves nothing.
    Dev,
}

impl Flavour {
    /// `release` or `dev`, as image.json and statements spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Dev => "dev",
        }
    }
}

/// One file of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artefact {
    /// File name beside image.json, no directories.
    pub file: String,
    /// Length in bytes.
    pub size: u64,
    /// Of its bytes.
    pub sha256: Sha256Digest,
}

/// MRTD in the two orders in which a VMM may add and measure pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MrtdOrders {
    /// Page by page (QEMU 9.0 and later).
    pub single_pass: Mrtd,
    /// A section's pages, then their contents (the 8.x TDX trees).
    pub two_pass: Mrtd,
}

/// What RTMR0 needs besides the shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirmwareFacts {
    /// Event layout, such as `edk2-2025.02`.
    pub layout: String,
    /// Guest address of the TD HOB.
    pub td_hob_base: u64,
    /// Ranges accepted before boot as (start, length) in bytes, by address.
    pub accepted_ranges: Vec<(u64, u64)>,
    /// SHA-384 of the configuration firmware volume.
    pub cfv_sha384: Sha384Digest,
}

/// What RTMR1 and RTMR2 need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelFacts {
    /// Authenticode SHA-384 of the kernel file.
    pub authenticode_sha384: Sha384Digest,
    /// SHA-384 of the initrd file.
    pub initrd_sha384: Sha384Digest,
}

/// Registers that do not depend on the shape, for reading; recomputed, never trusted, by
/// `measurement`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Both page orders.
    pub mrtd: MrtdOrders,
    /// On QEMU 10.2 and later.
    pub rtmr1: Rtmr,
    /// Of this command line and initrd.
    pub rtmr2: Rtmr,
}

/// What a launch of this image always has, whatever its size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineFacts {
    /// QEMU that the image was built for and tested with.
    pub qemu_version: String,
    /// ISA serial ports of every launch.
    pub serial_ports: u32,
    /// Root slots of a launch without extra devices.
    pub root_slots: u32,
}

/// SHA-256 of the policy engines of Pads that were built of the same sources: policies name engines
/// by it. They are in no image; whoever submits a run brings them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PadEngines {
    /// The engine with the rules of `docs/pad-rules.md`.
    pub share: Sha256Digest,
    /// The small engine in C.
    pub listed: Sha256Digest,
}

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageManifest {
    /// Always [`VERSION`].
    pub version: u32,
    /// Version of dstyx.
    pub dstyx_version: String,
    /// Release or dev.
    pub flavour: Flavour,
    /// Build date in seconds since 1970: the guest's clock never starts before it.
    pub source_date_epoch: u64,
    /// Kernel command line, without what firmware appends.
    pub cmdline: String,
    /// The firmware volume.
    pub firmware: Artefact,
    /// The kernel.
    pub kernel: Artefact,
    /// The initial file system.
    pub initrd: Artefact,
    /// Inputs of RTMR0.
    pub firmware_facts: FirmwareFacts,
    /// Inputs of RTMR1 and RTMR2.
    pub kernel_facts: KernelFacts,
    /// Machine defaults.
    pub machine: MachineFacts,
    /// [`RESERVED_REPORT_DATA`] where the agent refuses reserved report data to containers; absent
    /// in images before it, whose quotes do not say which program asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_report_data: Option<u32>,
    /// The policy engines; absent in images that run no Pads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pad_engines: Option<PadEngines>,
    /// Shape-independent registers.
    pub reference: Reference,
}

impl ImageManifest {
    /// Parses the exact bytes of an image.json.
    pub fn parse(json: &[u8]) -> Result<Self, ImageError> {
        let manifest: Self = strict_json::parse(json, MAX_BYTES)?;
        manifest.check()?;
        if manifest.to_json() != json {
            return Err(ImageError::NotCanonical);
        }
        Ok(manifest)
    }

    /// The file's bytes: pretty-printed JSON in declaration order with a final newline, so that
    /// every builder writes the same.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("strings and numbers serialise");
        json.push(b'\n');
        json
    }

    /// The hash that names this image.
    pub fn os_image_hash(&self) -> OsImageHash {
        OsImageHash::of(&self.to_json())
    }

    fn check(&self) -> Result<(), ImageError> {
        let wrong = |field, what: String| Err(ImageError::Field { field, what });
        if self.version != VERSION {
            return wrong("version", format!("{} is unknown, expected {VERSION}", self.version));
        }
        if let Some(found) = self.reserved_report_data
            && found != RESERVED_REPORT_DATA
        {
            return wrong(
                "reserved_report_data",
                format!("{found} is unknown, expected {RESERVED_REPORT_DATA} or no such key"),
            );
        }
        if self.cmdline.len() > MAX_CMDLINE_BYTES {
            return wrong(
                "cmdline",
                format!("{} bytes, at most {MAX_CMDLINE_BYTES}", self.cmdline.len()),
            );
        }
        let console = self.cmdline.split(' ').any(|word| word == crate::cmdline::SERIAL_CONSOLE);
        let measured = if console { Flavour::Dev } else { Flavour::Release };
        if self.flavour != measured {
            let what = format!(
                "{}, but the command line is that of a {} image",
                self.flavour.name(),
                measured.name()
            );
            return wrong("flavour", what);
        }
        let ranges = self.firmware_facts.accepted_ranges.len();
        if ranges > MAX_ACCEPTED_RANGES {
            return wrong(
                "firmware_facts",
                format!("{ranges} accepted ranges, at most {MAX_ACCEPTED_RANGES}"),
            );
        }
        for (field, artefact) in
            [("firmware", &self.firmware), ("kernel", &self.kernel), ("initrd", &self.initrd)]
        {
            let plain = !artefact.file.is_empty()
                && !artefact.file.contains(['/', '\\'])
                && artefact.file != "..";
            if !plain {
                return wrong(field, format!("{:?} is not a plain file name", artefact.file));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn manifest() -> ImageManifest {
        let artefact =
            |file: &str| Artefact { file: file.into(), size: 1, sha256: Sha256Digest([1; 32]) };
        ImageManifest {
            version: VERSION,
            dstyx_version: "0.1.0".into(),
            flavour: Flavour::Dev,
            source_date_epoch: 1,
            cmdline: "quiet console=ttyS0".into(),
            firmware: artefact("firmware.fd"),
            kernel: artefact("kernel"),
            initrd: artefact("initrd"),
            firmware_facts: FirmwareFacts {
                layout: "edk2-2025.02".into(),
                td_hob_base: 0x809000,
                accepted_ranges: vec![(0x80_0000, 0x6000)],
                cfv_sha384: Sha384Digest([2; 48]),
            },
            kernel_facts: KernelFacts {
                authenticode_sha384: Sha384Digest([3; 48]),
                initrd_sha384: Sha384Digest([4; 48]),
            },
            machine: MachineFacts { qemu_version: "11.1.3".into(), serial_ports: 2, root_slots: 4 },
            reserved_report_data: Some(RESERVED_REPORT_DATA),
            pad_engines: Some(PadEngines {
                share: Sha256Digest([9; 32]),
                listed: Sha256Digest([10; 32]),
            }),
            reference: Reference {
                mrtd: MrtdOrders { single_pass: Mrtd([5; 48]), two_pass: Mrtd([6; 48]) },
                rtmr1: Rtmr([7; 48]),
                rtmr2: Rtmr([8; 48]),
            },
        }
    }

    #[test]
    fn a_manifest_survives_its_bytes_and_has_one_hash() {
        let json = manifest().to_json();
        assert_eq!(ImageManifest::parse(&json), Ok(manifest()));
        assert_eq!(manifest().os_image_hash(), OsImageHash::of(&json));
    }

    #[test]
    fn an_image_without_reserved_report_data_is_read_and_an_unknown_version_is_not() {
        let mut manifest = manifest();
        manifest.reserved_report_data = None;
        let json = manifest.to_json();
        assert!(!String::from_utf8_lossy(&json).contains("reserved_report_data"));
        assert_eq!(ImageManifest::parse(&json), Ok(manifest.clone()));
        manifest.reserved_report_data = Some(2);
        let refused = ImageManifest::parse(&manifest.to_json());
        assert!(matches!(refused, Err(ImageError::Field { field: "reserved_report_data", .. })));
    }

    #[test]
    fn an_image_without_engines_of_pads_is_read_and_one_with_some_of_them_is_not() {
        let without = ImageManifest { pad_engines: None, ..manifest() };
        let json = without.to_json();
        assert!(!String::from_utf8_lossy(&json).contains("pad_engines"));
        assert_eq!(ImageManifest::parse(&json), Ok(without));
        let json = String::from_utf8(manifest().to_json()).unwrap();
        let other = json.replace("\"listed\"", "\"other\"");
        assert!(matches!(ImageManifest::parse(other.as_bytes()), Err(ImageError::Json(_))));
    }

    /// The command line is measured, the flavour beside it is not.
    #[test]
    fn a_flavour_that_is_not_that_of_the_command_line_is_refused() {
        for (flavour, cmdline) in
            [(Flavour::Release, "quiet console=ttyS0"), (Flavour::Dev, "quiet")]
        {
            let manifest = ImageManifest { flavour, cmdline: cmdline.into(), ..manifest() };
            let refused = ImageManifest::parse(&manifest.to_json());
            assert!(matches!(refused, Err(ImageError::Field { field: "flavour", .. })));
        }
    }

    #[test]
    fn a_path_instead_of_a_file_name_is_refused() {
        let mut manifest = manifest();
        manifest.kernel.file = "../kernel".into();
        let refused = ImageManifest::parse(&manifest.to_json());
        assert!(matches!(refused, Err(ImageError::Field { field: "kernel", .. })));
    }
}
