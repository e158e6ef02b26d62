//! What a person states of machine, firmware and signers, out of the command line's types.

use attestation::{StatedFirmware, StatedMachine};
use measurement::FirmwareLayout;
use protocol::digest::Sha384Digest;

use crate::args::{FirmwareFlags, ShapeFlags, Signers};
use crate::failure::{Hint as _, Outcome};
use crate::signers::StatedSigners;

/// The machine.
pub fn machine(flags: &ShapeFlags) -> StatedMachine {
    StatedMachine {
        vcpus: flags.vcpus,
        memory_mib: flags.memory,
        root_slots: flags.root_slots,
        serial_ports: flags.serial_ports,
        qemu_version: flags.qemu_version.clone(),
        pci_hotplug: flags.stated_pci_hotplug(),
    }
}

/// The firmware.
pub fn firmware(flags: &FirmwareFlags) -> Outcome<StatedFirmware> {
    let layout = flags.layout.as_deref().map(FirmwareLayout::from_name).transpose();
    let handoff_tables = flags.handoff_tables.as_deref().map(Sha384Digest::from_hex).transpose();
    Ok(StatedFirmware {
        layout: layout.hint("--layout", "give one of the known layouts")?,
        handoff_tables: handoff_tables
            .hint("--handoff-tables", "give 96 lower-case hexadecimal digits")?,
    })
}

/// The signers.
pub fn signers(flags: &Signers) -> StatedSigners {
    StatedSigners { keys: flags.signer.clone(), threshold: flags.threshold }
}
