//! dstack's `vm_config`: how its VMM describes the machine and the image that it launched. A claim.
//!
//! Of its many keys those count here that decide RTMR0. All known keys are listed, because an unknown one
//! could change the machine without anybody noticing. Source: dstack, `dstack-types`, `VmConfig`.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::digest::OsImageHash;
use crate::launch::LaunchClaims;
use crate::shape::Shape;
use crate::strict_json;

/// Longest text: the longest published one has 2 KiB; measurements for several platforms may nest.
pub const MAX_BYTES: usize = 64 * 1024;
/// Root slots of every dstack machine: host bridge, data disk, vsock, shared folder, root disk.
const FIXED_ROOT_SLOTS: u32 = 5;
/// Serial ports of a dstack machine.
const SERIAL_PORTS: u32 = 1;
/// What stands for QEMU's version where none is claimed; no profile has this name.
const UNKNOWN_VERSION: &str = "unknown";
const BYTES_PER_MIB: u64 = 1 << 20;

/// The description; numbers in range, nothing else checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmConfig {
    /// SHA-256 of dstack's `sha256sum.txt` of the image; `None` if it is not stated.
    pub os_image_hash: Option<OsImageHash>,
    /// Name of the image, such as `dstack-0.6.0`.
    pub image: Option<String>,
    /// The firmware's generation as dstack names it, such as `pre202505`.
    pub ovmf_variant: Option<String>,
    /// Whether QEMU adds and measures each page in one pass; `None`: as its version does.
    pub single_pass_add_pages: Option<bool>,
    /// Whether the machine has a PIC; `None`: as its version does.
    pub pic: Option<bool>,
    /// What dstack's `lite` variant says of the image's measurements.
    pub tdx_measurement: Option<TdxMeasurement>,
    shape: Option<Shape>,
}

/// dstack's measurements of an image for TDX, as text in the encoding of their version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TdxMeasurement {
    /// `measurement.tdx.cbor`: base64, or hex in version 2.
    pub measurement: String,
    /// Base64 of the `sha256sum.txt` that lists it; absent in version 2.
    #[serde(default)]
    pub checksum_file: Option<String>,
    /// Version 2 says so.
    #[serde(default)]
    pub version: Option<u32>,
    /// Version 2 repeats it.
    #[serde(default)]
    pub os_image_hash: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    os_image_hash: String,
    cpu_count: u32,
    /// In bytes.
    memory_size: u64,
    #[serde(default)]
    qemu_version: Option<String>,
    #[serde(default)]
    qemu_single_pass_add_pages: Option<bool>,
    #[serde(default)]
    pic: Option<bool>,
    #[serde(default)]
    pci_hole64_size: u64,
    #[serde(default)]
    hugepages: bool,
    #[serde(default)]
    num_gpus: u32,
    #[serde(default)]
    num_nvswitches: u32,
    #[serde(default = "one")]
    num_nics: u32,
    #[serde(default)]
    num_verity_volumes: u32,
    #[serde(default)]
    swtpm: bool,
    #[serde(default)]
    hotplug_off: bool,
    #[serde(default)]
    image: Option<String>,
    #[serde(default)]
    ovmf_variant: Option<String>,
    #[serde(default)]
    tdx_measurement: Option<TdxMeasurement>,
    // Known, and without a part in the registers of a TDX guest: both ways to share a folder take one slot.
    #[serde(default, rename = "spec_version")]
    _spec_version: Option<IgnoredAny>,
    #[serde(default, rename = "host_share_mode")]
    _host_share_mode: Option<IgnoredAny>,
    #[serde(default, rename = "tdx_attestation_variant")]
    _tdx_attestation_variant: Option<IgnoredAny>,
    #[serde(default, rename = "gcp_measurement")]
    _gcp_measurement: Option<IgnoredAny>,
    #[serde(default, rename = "aws_measurement")]
    _aws_measurement: Option<IgnoredAny>,
}

fn one() -> u32 {
    1
}

impl VmConfig {
    /// Parses the JSON; the text of an error says which key.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let raw: Raw = strict_json::parse(json, MAX_BYTES).map_err(|error| error.to_string())?;
        let os_image_hash = match raw.os_image_hash.as_str() {
            "" => None,
            text => Some(OsImageHash::from_hex(text).map_err(|error| format!("os_image_hash: {error}"))?),
        };
        let shape = raw.shape()?;
        Ok(Self {
            os_image_hash,
            image: raw.image,
            ovmf_variant: raw.ovmf_variant,
            single_pass_add_pages: raw.qemu_single_pass_add_pages,
            pic: raw.pic,
            tdx_measurement: raw.tdx_measurement,
            shape,
        })
    }

    /// What it claims, in our form; a machine that a [`Shape`] cannot describe is an unknown one.
    pub fn claims(&self) -> LaunchClaims {
        LaunchClaims {
            os_image_hash: self.os_image_hash.unwrap_or(OsImageHash::ZERO),
            shape: self.shape.clone().unwrap_or_else(unknown_shape),
        }
    }
}

impl Raw {
    /// `None` for a machine with parts that change its tables in ways no shape describes.
    fn shape(&self) -> Result<Option<Shape>, String> {
        if !self.memory_size.is_multiple_of(BYTES_PER_MIB) {
            return Err(format!("memory_size: {} bytes, no whole number of MiB", self.memory_size));
        }
        let slots = [FIXED_ROOT_SLOTS, self.num_nics, self.num_verity_volumes];
        let shape = Shape {
            vcpus: self.cpu_count,
            memory_mib: self.memory_size / BYTES_PER_MIB,
            root_slots: slots.into_iter().fold(0, u32::saturating_add),
            serial_ports: SERIAL_PORTS,
            qemu_version: self.qemu_version.clone().unwrap_or_else(|| UNKNOWN_VERSION.to_owned()),
            pci_hotplug: !self.hotplug_off,
        };
        shape.check().map_err(|error| error.to_string())?;
        let plain = self.num_gpus == 0 && self.num_nvswitches == 0 && self.pci_hole64_size == 0;
        Ok(Some(shape).filter(|_| plain && !self.hugepages && !self.swtpm))
    }
}

/// A shape that none is: [`Shape::check`] refuses it.
pub(super) fn unknown_shape() -> Shape {
    Shape {
        vcpus: 0,
        memory_mib: 0,
        root_slots: 0,
        serial_ports: 0,
        qemu_version: UNKNOWN_VERSION.to_owned(),
        pci_hotplug: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_descriptions_claim_no_version() {
        let old = VmConfig::parse(br#"{"os_image_hash":"","cpu_count":1,"memory_size":2147483648}"#).unwrap();
        let shape = old.claims().shape;
        assert_eq!((shape.vcpus, shape.memory_mib, shape.root_slots), (1, 2048, 6));
        assert_eq!(shape.qemu_version, "unknown");
        assert_eq!(old.os_image_hash, None);
    }

    #[test]
    fn a_machine_beyond_a_shape_is_unknown() {
        let gpu = VmConfig::parse(br#"{"cpu_count":1,"memory_size":2147483648,"num_gpus":1}"#).unwrap();
        assert_eq!(gpu.claims().shape, unknown_shape());
    }

    #[test]
    fn unknown_keys_and_numbers_out_of_range_are_refused() {
        let why = |text: &str| VmConfig::parse(text.as_bytes()).unwrap_err();
        assert!(why(r#"{"cpu_count":1,"memory_size":0,"num_fans":2}"#).contains("num_fans"));
        assert!(why(r#"{"cpu_count":1,"memory_size":1}"#).contains("memory_size"));
        assert!(why(r#"{"cpu_count":0,"memory_size":1048576}"#).contains("vcpus"));
        assert!(why(r#"{"cpu_count":1,"memory_size":1048576,"num_nics":4294967295}"#).contains("root_slots"));
    }
}
