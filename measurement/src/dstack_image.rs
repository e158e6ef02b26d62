//! dstack's images: a directory's checksum list and metadata, and the CBOR that states their
//! measurements.
//!
//! `os-image-hash` of such an image is the SHA-256 of its `sha256sum.txt`; a file counts only if
//! that list has its digest. The files may be anybody's: they are bounded, unknown versions and
//! keys of the CBOR are refused, and what the metadata does not say (an older image's firmware
//! layout) stays unsaid. Source: dstack, `dstack-types/src/lib.rs` and `dstack-mr/src/tdvf.rs`,
//! measurement version 3.

use std::collections::BTreeMap;

use protocol::digest::{HexError, OsImageHash, Sha256Digest};
use protocol::strict_json;
use serde::Deserialize;

use crate::layout::FirmwareLayout;

mod measured;

pub use measured::{MAX_MEASUREMENT_BYTES, facts};

/// The list that names an image.
pub const CHECKSUMS_FILE: &str = "sha256sum.txt";
/// What the image consists of.
pub const METADATA_FILE: &str = "metadata.json";
/// What it measures to.
pub const MEASUREMENT_FILE: &str = "measurement.tdx.cbor";
/// Longest list; a real one has eleven lines.
pub const MAX_CHECKSUMS_BYTES: usize = 64 * 1024;
/// Longest metadata; real ones have less than 1 KiB.
pub const MAX_METADATA_BYTES: usize = 64 * 1024;

/// Why files are not those of a dstack image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DstackImageError {
    /// longer than its budget
    #[error("{file}: {found} bytes, at most {limit} are accepted")]
    TooLarge {
        /// Which file.
        file: &'static str,
        /// Its length.
        found: usize,
        /// What is accepted.
        limit: usize,
    },
    /// a line that is not a digest, two blanks and a file name
    #[error("{CHECKSUMS_FILE}: line {line}: {what}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// a file that the list does not name
    #[error("{CHECKSUMS_FILE} has no line for {file}, so it is no part of this image")]
    Unlisted {
        /// The file.
        file: String,
    },
    /// a file with other bytes than listed
    #[error("{file}: SHA-256 {found}, {CHECKSUMS_FILE} lists {listed}")]
    Changed {
        /// The file.
        file: String,
        /// Of its bytes.
        found: Sha256Digest,
        /// Of the list.
        listed: Sha256Digest,
    },
    /// metadata that is no such JSON
    #[error("{METADATA_FILE}: {0}")]
    Metadata(#[from] strict_json::JsonError),
    /// metadata without a value, or with one that is not usable
    #[error("{METADATA_FILE}: {field}: {what}")]
    Field {
        /// The key.
        field: &'static str,
        /// What is wrong.
        what: String,
    },
    /// CBOR that is not a measurement of version 3
    #[error("{MEASUREMENT_FILE}: {0}")]
    Measurement(String),
}

/// The checksum list of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksums {
    files: BTreeMap<String, Sha256Digest>,
    /// The name of the image: SHA-256 of the list.
    pub os_image_hash: OsImageHash,
}

impl Checksums {
    /// Parses the exact bytes of a `sha256sum.txt`.
    pub fn parse(list: &[u8]) -> Result<Self, DstackImageError> {
        bounded(CHECKSUMS_FILE, list, MAX_CHECKSUMS_BYTES)?;
        let wrong = |index: usize, what: String| DstackImageError::Line { line: index + 1, what };
        let text = std::str::from_utf8(list).map_err(|error| wrong(0, error.to_string()))?;
        let mut files = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let (digest, file) = line
                .split_once("  ")
                .ok_or_else(|| wrong(index, format!("`{line}` has no name")))?;
            let digest = Sha256Digest::from_hex(digest)
                .map_err(|error: HexError| wrong(index, error.to_string()))?;
            if files.insert(file.to_owned(), digest).is_some() {
                return Err(wrong(index, format!("{file} occurs a second time")));
            }
        }
        Ok(Self { files, os_image_hash: OsImageHash::of(list) })
    }

    /// Refuses a file that is not on the list with these bytes.
    pub fn check(&self, file: &str, bytes: &[u8]) -> Result<(), DstackImageError> {
        let listed = self
            .files
            .get(file)
            .ok_or_else(|| DstackImageError::Unlisted { file: file.to_owned() })?;
        let found = Sha256Digest::of(bytes);
        if found == *listed {
            return Ok(());
        }
        Err(DstackImageError::Changed { file: file.to_owned(), found, listed: *listed })
    }
}

/// What an image consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// File name of the firmware.
    pub firmware: String,
    /// File name of the kernel.
    pub kernel: String,
    /// File name of the initrd.
    pub initrd: String,
    /// Command line, without what the firmware appends.
    pub cmdline: String,
    /// What its firmware measures; `None` in images older than the key `ovmf_variant`.
    pub layout: Option<FirmwareLayout>,
}

/// The keys that matter here; images have more of them.
#[derive(Deserialize)]
struct RawMetadata {
    bios: String,
    kernel: String,
    initrd: String,
    cmdline: String,
    ovmf_variant: Option<String>,
}

impl Metadata {
    /// Parses a `metadata.json`.
    pub fn parse(json: &[u8]) -> Result<Self, DstackImageError> {
        let raw: RawMetadata = strict_json::parse(json, MAX_METADATA_BYTES)?;
        Ok(Self {
            firmware: plain_name("bios", raw.bios)?,
            kernel: plain_name("kernel", raw.kernel)?,
            initrd: plain_name("initrd", raw.initrd)?,
            cmdline: raw.cmdline,
            layout: raw.ovmf_variant.as_deref().map(layout).transpose()?,
        })
    }
}

/// A file beside the metadata, nowhere else.
fn plain_name(field: &'static str, name: String) -> Result<String, DstackImageError> {
    let plain = !name.is_empty() && !name.contains(['/', '\\']) && name != "." && name != "..";
    let wrong =
        || DstackImageError::Field { field, what: format!("{name:?} is not a plain file name") };
    if plain { Ok(name) } else { Err(wrong()) }
}

/// dstack's name of a layout.
fn layout(variant: &str) -> Result<FirmwareLayout, DstackImageError> {
    match variant {
        "pre202505" => Ok(FirmwareLayout::Edk2_2025_02),
        other => {
            let what =
                format!("`{other}` is unknown, known is pre202505; state the layout yourself");
            Err(DstackImageError::Field { field: "ovmf_variant", what })
        }
    }
}

fn bounded(file: &'static str, bytes: &[u8], limit: usize) -> Result<(), DstackImageError> {
    if bytes.len() > limit {
        return Err(DstackImageError::TooLarge { file, found: bytes.len(), limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_counts_only_with_the_bytes_that_the_list_names() {
        let list = format!(
            "{}  bzImage\n{}  ovmf.fd\n",
            Sha256Digest::of(b"kernel"),
            Sha256Digest::of(b"firmware")
        );
        let checksums = Checksums::parse(list.as_bytes()).unwrap();
        assert_eq!(checksums.os_image_hash, OsImageHash::of(list.as_bytes()));
        assert_eq!(checksums.check("bzImage", b"kernel"), Ok(()));
        let changed = checksums.check("bzImage", b"another").unwrap_err();
        assert!(
            matches!(&changed, DstackImageError::Changed { file, .. } if file == "bzImage"),
            "{changed}"
        );
        let unlisted = checksums.check("initrd", b"").unwrap_err();
        assert_eq!(unlisted, DstackImageError::Unlisted { file: "initrd".into() });
    }

    #[test]
    fn a_broken_list_is_refused_by_its_line() {
        let good = format!("{}  bzImage\n", Sha256Digest::of(b""));
        for (line, list) in [(1, "x".to_owned()), (2, good.clone() + "12  a"), (2, good.repeat(2))]
        {
            let error = Checksums::parse(list.as_bytes()).unwrap_err();
            assert!(
                matches!(error, DstackImageError::Line { line: found, .. } if found == line),
                "{error}"
            );
        }
        let long = vec![b'\n'; MAX_CHECKSUMS_BYTES + 1];
        assert!(matches!(Checksums::parse(&long), Err(DstackImageError::TooLarge { .. })));
    }

    #[test]
    fn metadata_names_plain_files_and_says_or_does_not_say_its_layout() {
        let json = |bios: &str, more: &str| {
            format!(
                r#"{{"bios":"{bios}","kernel":"bzImage","initrd":"i","cmdline":"quiet","version":"0.5.4"{more}}}"#
            )
        };
        let old = Metadata::parse(json("ovmf.fd", "").as_bytes()).unwrap();
        assert_eq!((old.firmware.as_str(), old.layout), ("ovmf.fd", None));
        let new =
            Metadata::parse(json("ovmf.fd", r#","ovmf_variant":"pre202505""#).as_bytes()).unwrap();
        assert_eq!(new.layout, Some(FirmwareLayout::Edk2_2025_02));
        for (bios, more) in
            [("../ovmf.fd", ""), ("", ""), ("ovmf.fd", r#","ovmf_variant":"other""#)]
        {
            let error = Metadata::parse(json(bios, more).as_bytes()).unwrap_err();
            assert!(matches!(error, DstackImageError::Field { .. }), "{error}");
        }
    }
}
