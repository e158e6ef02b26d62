//! What a verifier states of a guest's machine and firmware; what is not stated is the evidence's
//! own claim, which a match of the registers proves.

use measurement::FirmwareLayout;
use measurement::explain::StatedBy;
use protocol::digest::Sha384Digest;
use protocol::shape::Shape;

/// The machine that a guest must have; `None` takes the number that the evidence claims.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatedMachine {
    /// Virtual processors.
    pub vcpus: Option<u32>,
    /// Memory in MiB.
    pub memory_mib: Option<u64>,
    /// PCI functions on the root bus, host bridge included.
    pub root_slots: Option<u32>,
    /// ISA serial ports.
    pub serial_ports: Option<u32>,
    /// Version of QEMU.
    pub qemu_version: Option<String>,
    /// Whether ACPI PCI hot-plug is on.
    pub pci_hotplug: Option<bool>,
}

impl StatedMachine {
    /// The machine of a prediction: stated numbers over claimed ones.
    pub fn over(&self, claimed: &Shape) -> Shape {
        Shape {
            vcpus: self.vcpus.unwrap_or(claimed.vcpus),
            memory_mib: self.memory_mib.unwrap_or(claimed.memory_mib),
            root_slots: self.root_slots.unwrap_or(claimed.root_slots),
            serial_ports: self.serial_ports.unwrap_or(claimed.serial_ports),
            qemu_version: self.qemu_version.clone().unwrap_or_else(|| claimed.qemu_version.clone()),
            pci_hotplug: self.pci_hotplug.unwrap_or(claimed.pci_hotplug),
        }
    }

    /// Which numbers are stated.
    pub fn stated_by(&self) -> StatedBy {
        StatedBy {
            vcpus: self.vcpus.is_some(),
            memory_mib: self.memory_mib.is_some(),
            root_slots: self.root_slots.is_some(),
            serial_ports: self.serial_ports.is_some(),
            pci_hotplug: self.pci_hotplug.is_some(),
            qemu_version: self.qemu_version.is_some(),
        }
    }
}

/// What no file of an image says about its firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatedFirmware {
    /// The events that the firmware measures into RTMR0.
    pub layout: Option<FirmwareLayout>,
    /// A reference for the digest of SMBIOS tables, which is not computed.
    pub handoff_tables: Option<Sha384Digest>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stated_number_stands_over_a_claimed_one() {
        let claimed = protocol::fixtures::shape();
        let stated = StatedMachine { vcpus: Some(4), ..StatedMachine::default() };
        assert_eq!(stated.over(&claimed), Shape { vcpus: 4, ..claimed.clone() });
        assert!(stated.stated_by().vcpus && !stated.stated_by().memory_mib);
        assert_eq!(StatedMachine::default().over(&claimed), claimed);
    }
}
