//! The launch block: all that a host may tell a guest, on one read-only disk, bounded and typed.
//!
//! Layout: magic 8, version u32, JSON length u32, SHA-256 of the JSON 32, JSON, zero bytes to the
//! next multiple of 512. Nothing in it is trusted: the app-compose bytes and ids are extended into
//! RTMR3 before use, addresses are hints whose misuse can only deny service. The digest finds
//! accidents, not attackers.

use serde::{Deserialize, Serialize};

use crate::digest::{AppId, Sha256Digest};
use crate::identity::SEED_BYTES;
use crate::reader::{ReadError, Reader};
use crate::shape::Shape;
use crate::strict_json;

/// `serial` of the block's virtio-blk device.
pub const DISK_SERIAL: &str = "dstyx-launch";
/// First bytes.
pub const MAGIC: [u8; 8] = *b"DSTYXLB1";
/// The only version.
pub const VERSION: u32 = 1;
/// Header bytes before the JSON.
pub const HEADER_BYTES: usize = 48;
/// Largest disk: 1 MiB holds the largest app-compose (see [`crate::app_compose::MAX_BYTES`]) in
/// base64 and its company.
pub const MAX_BYTES: usize = 1 << 20;
/// A disk's granularity.
pub const SECTOR_BYTES: usize = 512;
/// Most mirrors, KMS or gateway addresses: each costs a connection attempt.
pub const MAX_ADDRESSES: usize = 16;
/// The registry of images that were built beside the app: mirrors have them, and no host has this
/// name.
pub const LOCAL_REGISTRY: &str = "dstyx.local";
/// Longest address; the usual limit for URLs.
pub const MAX_ADDRESS_BYTES: usize = 2048;

/// Why a launch block was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// header or length
    #[error("launch block: {0}")]
    Read(#[from] ReadError),
    /// another magic
    #[error("launch block: unknown magic {0:02x?}")]
    Magic([u8; 8]),
    /// another version
    #[error("launch block: version {0}, expected {VERSION}")]
    Version(u32),
    /// larger than the budget, or not the sector multiple that its length wants
    #[error("launch block: a disk of {found} bytes, expected {expected} (at most {MAX_BYTES})")]
    Size {
        /// Bytes present.
        found: usize,
        /// Bytes that the stated length wants.
        expected: usize,
    },
    /// padding that is not zero
    #[error("launch block: padding is not zero")]
    Padding,
    /// the digest does not fit
    #[error("launch block: SHA-256 {stated} stated, its content has {computed}")]
    Digest {
        /// In the header.
        stated: Sha256Digest,
        /// Of the JSON.
        computed: Sha256Digest,
    },
    /// JSON that the schema refuses
    #[error("launch block: {0}")]
    Json(#[from] strict_json::JsonError),
    /// a value out of range
    #[error("launch block: {field}: {what}")]
    Field {
        /// Key path.
        field: &'static str,
        /// What is wrong.
        what: String,
    },
}

/// The block's JSON as sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLaunch {
    /// Base64 of the exact bytes of `app-compose.json`.
    pub app_compose: String,
    /// 20 bytes hex; absent: the first 20 bytes of the compose hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_id: Option<AppId>,
    /// 20 bytes hex.
    pub instance_id_seed: String,
    /// KMS addresses (hints).
    #[serde(default)]
    pub kms_urls: Vec<String>,
    /// Gateway addresses (hints).
    #[serde(default)]
    pub gateway_urls: Vec<String>,
    /// Registries to ask first (hints, the digest decides), such as `http://10.0.2.2:5000`.
    #[serde(default)]
    pub registry_mirrors: Vec<String>,
    /// Base64 of the environment, sealed for the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted_env: Option<String>,
    /// What the host says it launched; repeated in evidence as a claim.
    pub claims: LaunchClaims,
}

/// What a host claims about a launch; proved or refuted by the registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchClaims {
    /// Hash of the image's `image.json`.
    pub os_image_hash: crate::digest::OsImageHash,
    /// The machine's shape.
    pub shape: Shape,
}

/// A launch block that passed its schema; still the host's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Exact bytes of `app-compose.json`.
    pub app_compose: Vec<u8>,
    /// Stated id, if any.
    pub app_id: Option<AppId>,
    /// Seed of the instance id.
    pub instance_id_seed: [u8; SEED_BYTES],
    /// KMS addresses.
    pub kms_urls: Vec<String>,
    /// Gateway addresses.
    pub gateway_urls: Vec<String>,
    /// Registry mirrors.
    pub registry_mirrors: Vec<String>,
    /// Sealed environment.
    pub encrypted_env: Option<Vec<u8>>,
    /// The host's claims.
    pub claims: LaunchClaims,
}

/// Bytes of the disk for this block.
pub fn encode(launch: &RawLaunch) -> Result<Vec<u8>, LaunchError> {
    let json = serde_json::to_vec(launch).expect("strings and numbers serialise");
    resolve(launch.clone())?;
    let size = disk_size(json.len());
    if size > MAX_BYTES {
        return Err(LaunchError::Size { found: size, expected: size });
    }
    let mut disk = Vec::with_capacity(size);
    disk.extend_from_slice(&MAGIC);
    disk.extend_from_slice(&VERSION.to_le_bytes());
    disk.extend_from_slice(&u32::try_from(json.len()).expect("below MAX_BYTES").to_le_bytes());
    disk.extend_from_slice(Sha256Digest::of(&json).as_bytes());
    disk.extend_from_slice(&json);
    disk.resize(size, 0);
    Ok(disk)
}

/// Parses a whole disk.
pub fn decode(disk: &[u8]) -> Result<Launch, LaunchError> {
    if disk.len() > MAX_BYTES {
        return Err(LaunchError::Size { found: disk.len(), expected: MAX_BYTES });
    }
    let mut reader = Reader::new(disk);
    let magic = reader.array("magic")?;
    if magic != MAGIC {
        return Err(LaunchError::Magic(magic));
    }
    let version = reader.u32("version")?;
    if version != VERSION {
        return Err(LaunchError::Version(version));
    }
    let length = reader.u32("length")? as usize;
    let stated = Sha256Digest(reader.array("digest")?);
    let json = reader.take("content", length)?;
    let expected = disk_size(length);
    if disk.len() != expected {
        return Err(LaunchError::Size { found: disk.len(), expected });
    }
    if reader.rest().iter().any(|byte| *byte != 0) {
        return Err(LaunchError::Padding);
    }
    let computed = Sha256Digest::of(json);
    if stated != computed {
        return Err(LaunchError::Digest { stated, computed });
    }
    resolve(strict_json::parse(json, MAX_BYTES)?)
}

fn resolve(raw: RawLaunch) -> Result<Launch, LaunchError> {
    for (field, addresses) in [
        ("kms_urls", &raw.kms_urls),
        ("gateway_urls", &raw.gateway_urls),
        ("registry_mirrors", &raw.registry_mirrors),
    ] {
        check_addresses(field, addresses)?;
    }
    raw.claims
        .shape
        .check()
        .map_err(|error| LaunchError::Field { field: "claims.shape", what: error.to_string() })?;
    Ok(Launch {
        app_compose: base64_field("app_compose", &raw.app_compose)?,
        app_id: raw.app_id,
        instance_id_seed: crate::digest::decode_hex(&raw.instance_id_seed).map_err(|error| {
            LaunchError::Field { field: "instance_id_seed", what: error.to_string() }
        })?,
        kms_urls: raw.kms_urls,
        gateway_urls: raw.gateway_urls,
        registry_mirrors: raw.registry_mirrors,
        encrypted_env: raw
            .encrypted_env
            .map(|text| base64_field("encrypted_env", &text))
            .transpose()?,
        claims: raw.claims,
    })
}

fn check_addresses(field: &'static str, addresses: &[String]) -> Result<(), LaunchError> {
    let wrong = |what: String| Err(LaunchError::Field { field, what });
    if addresses.len() > MAX_ADDRESSES {
        return wrong(format!(
            "{} addresses, at most {MAX_ADDRESSES} are accepted",
            addresses.len()
        ));
    }
    for address in addresses {
        let printable = address.bytes().all(|b| b.is_ascii_graphic());
        if !printable || address.len() > MAX_ADDRESS_BYTES {
            return wrong("an address that is too long or not printable ASCII".into());
        }
        if !address.starts_with("http://") && !address.starts_with("https://") {
            return wrong(format!("{address}: expected http:// or https://"));
        }
    }
    Ok(())
}

fn base64_field(field: &'static str, text: &str) -> Result<Vec<u8>, LaunchError> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .map_err(|error| LaunchError::Field { field, what: error.to_string() })
}

/// Header and JSON, rounded up to whole sectors.
fn disk_size(json_bytes: usize) -> usize {
    HEADER_BYTES.saturating_add(json_bytes).div_ceil(SECTOR_BYTES).saturating_mul(SECTOR_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw() -> RawLaunch {
        RawLaunch {
            app_compose: "e30=".into(),
            app_id: None,
            instance_id_seed: "00".repeat(20),
            kms_urls: vec![],
            gateway_urls: vec![],
            registry_mirrors: vec!["http://10.0.2.2:5000".into()],
            encrypted_env: None,
            claims: crate::fixtures::claims(),
        }
    }

    #[test]
    fn a_block_survives_its_disk() {
        let disk = encode(&raw()).unwrap();
        assert_eq!(disk.len() % SECTOR_BYTES, 0);
        assert_eq!(decode(&disk).unwrap().app_compose, b"{}");
    }

    #[test]
    fn every_field_of_the_header_is_checked() {
        let good = encode(&raw()).unwrap();
        let changed = |at: usize, by: u8| {
            let mut disk = good.clone();
            disk[at] ^= by;
            decode(&disk).unwrap_err()
        };
        assert!(matches!(changed(0, 1), LaunchError::Magic(_)));
        assert!(matches!(changed(8, 3), LaunchError::Version(2)));
        assert!(matches!(changed(16, 1), LaunchError::Digest { .. }));
        assert!(matches!(changed(50, 1), LaunchError::Digest { .. }));
        assert!(matches!(changed(15, 1), LaunchError::Read(_)));
        assert!(matches!(changed(good.len() - 1, 1), LaunchError::Padding));
        let mut longer = good.clone();
        longer.push(0);
        assert!(matches!(decode(&longer), Err(LaunchError::Size { .. })));
        assert!(matches!(
            decode(&good[..good.len() - 512]),
            Err(LaunchError::Read(_) | LaunchError::Size { .. })
        ));
    }

    #[test]
    fn content_is_strict() {
        let json = serde_json::to_string(&raw()).unwrap();
        let with = |text: String| {
            let mut disk = MAGIC.to_vec();
            disk.extend_from_slice(&VERSION.to_le_bytes());
            disk.extend_from_slice(&(text.len() as u32).to_le_bytes());
            disk.extend_from_slice(&Sha256Digest::of(text.as_bytes()).0);
            disk.extend_from_slice(text.as_bytes());
            disk.resize(disk_size(text.len()), 0);
            decode(&disk)
        };
        assert!(with(json.clone()).is_ok());
        assert!(matches!(with(json.replacen('{', r#"{"more":1,"#, 1)), Err(LaunchError::Json(_))));
        assert!(matches!(with(json.replace("http://", "ftp://")), Err(LaunchError::Field { .. })));
        assert!(matches!(with(json.replace("e30=", "e30")), Err(LaunchError::Field { .. })));
        assert!(matches!(with(json.replace("10.0", "\\u0000")), Err(LaunchError::Json(_))));
        assert!(matches!(
            with(json.replace("\"vcpus\":2", "\"vcpus\":0")),
            Err(LaunchError::Field { .. })
        ));
    }
}
