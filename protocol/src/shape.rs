//! The shape of a virtual machine: what RTMR0 depends on besides the firmware.

use serde::{Deserialize, Serialize};

/// Most vCPUs that a prediction accepts: the largest q35 machine of QEMU 11.1.
pub const MAX_VCPUS: u32 = 4096;
/// Most memory: 64 TiB, beyond any TDX host.
pub const MAX_MEMORY_MIB: u64 = 64 << 20;
/// Functions that fit on the root bus beside the chipset's own slot 31.
pub const MAX_ROOT_SLOTS: u32 = 31;
/// ISA serial ports that ACPI describes.
pub const MAX_SERIAL_PORTS: u32 = 2;

/// A machine's shape as stated by a person, or claimed by evidence; a match of RTMR0 proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Virtual processors, 1 to [`MAX_VCPUS`].
    pub vcpus: u32,
    /// Memory in MiB, 1 to [`MAX_MEMORY_MIB`].
    pub memory_mib: u64,
    /// PCI functions on the root bus, host bridge included, chipset's slot 31 not.
    pub root_slots: u32,
    /// ISA serial ports, 0 to [`MAX_SERIAL_PORTS`].
    pub serial_ports: u32,
    /// Version of QEMU, such as `11.1.3`.
    pub qemu_version: String,
    /// Whether ACPI PCI hot-plug is on (QEMU's default).
    pub pci_hotplug: bool,
}

/// a shape out of its legal range
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {found}, legal are {legal}")]
pub struct ShapeError {
    /// Which number.
    pub field: &'static str,
    /// Its value.
    pub found: u64,
    /// The range.
    pub legal: &'static str,
}

impl Shape {
    /// Refuses numbers outside their range, before anything is sized by them.
    pub fn check(&self) -> Result<(), ShapeError> {
        let ranges = [
            ("vcpus", u64::from(self.vcpus), 1, u64::from(MAX_VCPUS), "1 to 4096"),
            ("memory_mib", self.memory_mib, 1, MAX_MEMORY_MIB, "1 to 67108864"),
            ("root_slots", u64::from(self.root_slots), 1, u64::from(MAX_ROOT_SLOTS), "1 to 31"),
            (
                "serial_ports",
                u64::from(self.serial_ports),
                0,
                u64::from(MAX_SERIAL_PORTS),
                "0 to 2",
            ),
        ];
        match ranges.into_iter().find(|(_, found, low, high, _)| found < low || found > high) {
            Some((field, found, _, _, legal)) => Err(ShapeError { field, found, legal }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_out_of_range_names_its_field() {
        let mut shape = crate::fixtures::shape();
        assert_eq!(shape.check(), Ok(()));
        shape.vcpus = 0;
        assert_eq!(shape.check(), Err(ShapeError { field: "vcpus", found: 0, legal: "1 to 4096" }));
    }
}
