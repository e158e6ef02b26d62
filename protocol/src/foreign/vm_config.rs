//! dstack's `vm_config`: how its VMM describes the machine and the image that it launched. A claim.
//!
//! Of its many keys those count here that decide RTMR0. All known keys are listed, because an
//! unknown one could change the machine without anybody noticing. Source: dstack, `dstack-types`,
//! `VmConfig`.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::digest::OsImageHash;
use crate::launch::LaunchClaims;
use crate::shape::Shape;
use crate::strict_json;

/// Longest text: the longest published one has 2 KiB; measurements for several platforms may nest.
const MAX_BYTES: usize = 64 * 1024;
/// Root slots of every dstack machine: host bridge, data disk, vsock, shared directory, root disk.
const FIXED_ROOT_SLOTS: u32 = 5;
/// Serial ports of a dstack machine.
const SERIAL_PORTS: u32 = 1;
/// What stands for QEMU's version where none is claimed; no profile has this name.
const UNKNOWN_VERSION: &str = "unknown";
const BYTES_PER_MIB: u64 = 1 << 20;

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
    /// Not dstack's: the machine of a guest of ours, which dstack's keys cannot say whole.
    #[serde(default)]
    dstyx_shape: Option<Shape>,
    // Known, and without a part in RTMR0: both ways to share a directory take one slot, and what is
    // said of image, firmware and page order is for whoever has the image.
    #[serde(default, rename = "image")]
    _image: Option<IgnoredAny>,
    #[serde(default, rename = "ovmf_variant")]
    _ovmf_variant: Option<IgnoredAny>,
    #[serde(default, rename = "qemu_single_pass_add_pages")]
    _qemu_single_pass_add_pages: Option<IgnoredAny>,
    #[serde(default, rename = "tdx_measurement")]
    _tdx_measurement: Option<IgnoredAny>,
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

/// What the JSON claims, in our form; a machine that a [`Shape`] cannot describe is an unknown one,
/// beside the key that it cannot describe. The text of an error says which key.
pub(super) fn claims(json: &[u8]) -> Result<(LaunchClaims, Option<&'static str>), String> {
    let raw: Raw = strict_json::parse(json, MAX_BYTES).map_err(|error| error.to_string())?;
    let os_image_hash = match raw.os_image_hash.as_str() {
        "" => OsImageHash::ZERO,
        text => OsImageHash::from_hex(text).map_err(|error| format!("os_image_hash: {error}"))?,
    };
    let (shape, undescribed) = (raw.shape()?, raw.undescribed());
    let shape = if undescribed.is_some() { unknown_shape() } else { shape };
    Ok((LaunchClaims { os_image_hash, shape }, undescribed))
}

/// Our claims in dstack's form, for its clients, and beside them the exact machine, for ours. The
/// tables of a dstyx machine are none of dstack's, so a verifier of dstack's does not find RTMR0 in
/// this.
pub fn vm_config(claims: &LaunchClaims) -> String {
    let LaunchClaims { os_image_hash, shape } = claims;
    serde_json::json!({
        "os_image_hash": os_image_hash,
        "cpu_count": shape.vcpus,
        "memory_size": shape.memory_mib.saturating_mul(BYTES_PER_MIB),
        "qemu_version": shape.qemu_version,
        "hotplug_off": !shape.pci_hotplug,
        "image": "dstyx",
        "dstyx_shape": shape,
    })
    .to_string()
}

impl Raw {
    /// The first key of a part that changes the machine's tables in ways no shape describes. An
    /// interrupt controller beside the APIC (`pic`) is QEMU's default, which every profile has.
    fn undescribed(&self) -> Option<&'static str> {
        let parts = [
            ("num_gpus", self.num_gpus != 0),
            ("num_nvswitches", self.num_nvswitches != 0),
            ("pci_hole64_size", self.pci_hole64_size != 0),
            ("pic", self.pic == Some(false)),
            ("hugepages", self.hugepages),
            ("swtpm", self.swtpm),
        ];
        parts.into_iter().find(|(_, is_there)| *is_there).map(|(key, _)| key)
    }

    fn shape(&self) -> Result<Shape, String> {
        if let Some(shape) = &self.dstyx_shape {
            shape.check().map_err(|error| format!("dstyx_shape: {error}"))?;
            return Ok(shape.clone());
        }
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
        Ok(shape)
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
    fn our_own_claims_are_read_back() {
        let (mut ours, _) =
            claims(br#"{"cpu_count":3,"memory_size":1073741824,"qemu_version":"11.1.3"}"#).unwrap();
        ours.os_image_hash = OsImageHash([7; 32]);
        assert_eq!(claims(vm_config(&ours).as_bytes()), Ok((ours, None)));
    }

    #[test]
    fn old_descriptions_claim_no_version() {
        let (old, _) =
            claims(br#"{"os_image_hash":"","cpu_count":1,"memory_size":2147483648}"#).unwrap();
        assert_eq!((old.shape.vcpus, old.shape.memory_mib, old.shape.root_slots), (1, 2048, 6));
        assert_eq!(old.shape.qemu_version, "unknown");
        assert_eq!(old.os_image_hash, OsImageHash::ZERO);
    }

    #[test]
    fn a_machine_beyond_a_shape_is_unknown() {
        for (key, value) in [
            ("num_gpus", "1"),
            ("hugepages", "true"),
            ("swtpm", "true"),
            ("pic", "false"),
            ("pci_hole64_size", "1"),
        ] {
            let json = format!(r#"{{"cpu_count":1,"memory_size":2147483648,"{key}":{value}}}"#);
            let (claims, undescribed) = claims(json.as_bytes()).unwrap();
            assert_eq!((claims.shape, undescribed), (unknown_shape(), Some(key)));
        }
    }

    #[test]
    fn a_part_that_is_qemus_default_changes_nothing() {
        let plain = claims(br#"{"cpu_count":1,"memory_size":2147483648}"#).unwrap();
        let defaults = br#"{"cpu_count":1,"memory_size":2147483648,"pic":true,"num_gpus":0,
            "num_nvswitches":0,"pci_hole64_size":0,"hugepages":false,"swtpm":false}"#;
        assert_eq!(claims(defaults), Ok(plain));
    }

    #[test]
    fn unknown_keys_and_numbers_out_of_range_are_refused() {
        let why = |text: &str| claims(text.as_bytes()).unwrap_err();
        assert!(why(r#"{"cpu_count":1,"memory_size":0,"num_fans":2}"#).contains("num_fans"));
        assert!(why(r#"{"cpu_count":1,"memory_size":1}"#).contains("memory_size"));
        assert!(why(r#"{"cpu_count":0,"memory_size":1048576}"#).contains("vcpus"));
        assert!(
            why(r#"{"cpu_count":1,"memory_size":1048576,"num_nics":4294967295}"#)
                .contains("root_slots")
        );
    }

    #[test]
    fn our_own_claims_come_back_exactly() {
        let mut sent = crate::fixtures::claims();
        (sent.shape.root_slots, sent.shape.serial_ports) = (7, 2);
        let json = vm_config(&sent);
        assert_eq!(claims(json.as_bytes()), Ok((sent, None)));
        let none = json.replace("\"root_slots\":7", "\"root_slots\":0");
        assert!(claims(none.as_bytes()).unwrap_err().starts_with("dstyx_shape: "));
    }
}
