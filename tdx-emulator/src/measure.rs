//! What a TDX module and its firmware would have measured of the launch that is really running.
//!
//! A second computation beside the product's predictor, from other inputs: the files that QEMU was
//! started with and the ACPI blobs that QEMU made, not a manifest and a generator. It follows QEMU
//! ≥ 10.2 (the kernel's setup header is measured as it is in the file) and edk2 2025.02 (13 events
//! in RTMR0).

pub mod acpi;
pub mod authenticode;
pub mod mrtd;
pub mod td_hob;
pub mod tdvf;
pub mod variables;

use sha2::{Digest, Sha384};

use self::acpi::FirmwareBlobs;
use crate::registers::Register;

/// Event types (TCG PC Client Platform Firmware Profile 1.05, table 27).
mod event_type {
    pub const SEPARATOR: u32 = 0x4;
    pub const EVENT_TAG: u32 = 0x6;
    pub const PLATFORM_CONFIG_FLAGS: u32 = 0xa;
    pub const VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
    pub const VARIABLE_BOOT: u32 = 0x8000_0002;
    pub const BOOT_SERVICES_APPLICATION: u32 = 0x8000_0003;
    pub const ACTION: u32 = 0x8000_0007;
    pub const FIRMWARE_BLOB2: u32 = 0x8000_000a;
    pub const HANDOFF_TABLES2: u32 = 0x8000_000b;
}

/// What OVMF appends to the command line of a kernel that came with an initrd.
const INITRD_OPTION: &str = " initrd=initrd";

/// Why a launch cannot be measured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MeasureError {
    /// the firmware does not describe itself as a TDX firmware
    #[error(transparent)]
    Tdvf(#[from] tdvf::TdvfError),
    /// its sections and the memory do not fit
    #[error(transparent)]
    TdHob(#[from] td_hob::TdHobError),
    /// the kernel is no EFI program
    #[error(transparent)]
    Authenticode(#[from] authenticode::AuthenticodeError),
}

/// What QEMU was started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launched {
    /// Bytes of the file behind `-bios`.
    pub firmware: Vec<u8>,
    /// Bytes of the file behind `-kernel`.
    pub kernel: Vec<u8>,
    /// Bytes of the file behind `-initrd`.
    pub initrd: Vec<u8>,
    /// Text behind `-append`.
    pub cmdline: String,
    /// Bytes of memory.
    pub memory_bytes: u64,
}

/// One extension of a register by firmware, boot loader stub or TDX virtual firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareEvent {
    /// RTMR index, 0 to 2.
    pub register: usize,
    /// TCG event type.
    pub event_type: u32,
    /// What was measured; the names that predictions use too, so that both can be laid side by
    /// side.
    pub name: String,
    /// What extends the register.
    pub digest: Register,
    /// The digest's preimage where it is short, else empty.
    pub data: Vec<u8>,
}

/// All that depends on the launch alone; the ACPI blobs come later, from the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchMeasurement {
    /// MRTD.
    pub mrtd: Register,
    td_hob: Vec<u8>,
    configuration_volume: Register,
    kernel: Register,
    load_options: Vec<u8>,
    initrd: Register,
}

impl LaunchMeasurement {
    /// Hashes the files.
    pub fn of(launched: &Launched) -> Result<Self, MeasureError> {
        let sections = tdvf::sections(&launched.firmware)?;
        let volume = tdvf::configuration_volume(&launched.firmware, &sections)?;
        Ok(Self {
            mrtd: mrtd::measure(&launched.firmware, &sections),
            td_hob: td_hob::build(&sections, launched.memory_bytes)?,
            configuration_volume: Sha384::digest(volume).into(),
            kernel: authenticode::digest(&launched.kernel)?,
            load_options: load_options(&launched.cmdline),
            initrd: Sha384::digest(&launched.initrd).into(),
        })
    }

    /// Every event of RTMR0 to RTMR2, in the order in which firmware and EFI stub measure.
    pub fn events(&self, blobs: &FirmwareBlobs) -> Vec<FirmwareEvent> {
        let mut events = vec![
            hashed(0, event_type::HANDOFF_TABLES2, "td-hob", self.td_hob.clone()),
            known(0, event_type::FIRMWARE_BLOB2, "cfv", self.configuration_volume),
        ];
        events.extend(variables::SECURE_BOOT.iter().map(|variable| {
            hashed(
                0,
                event_type::VARIABLE_DRIVER_CONFIG,
                variable.name,
                variable.empty_variable_data(),
            )
        }));
        events.push(separator(0));
        events.extend(blobs.named().map(|(name, blob)| {
            known(0, event_type::PLATFORM_CONFIG_FLAGS, name, Sha384::digest(blob).into())
        }));
        events.push(known(1, event_type::BOOT_SERVICES_APPLICATION, "kernel", self.kernel));
        events.push(hashed(0, event_type::VARIABLE_BOOT, "BootOrder", variables::boot_order()));
        events.push(hashed(
            0,
            event_type::VARIABLE_BOOT,
            "Boot0000",
            variables::boot_manager_option(),
        ));
        events.push(action("calling-application", "Calling EFI Application from Boot Option"));
        events.push(separator(1));
        events.push(hashed(2, event_type::EVENT_TAG, "cmdline", self.load_options.clone()));
        events.push(known(2, event_type::EVENT_TAG, "initrd", self.initrd));
        events.push(action("exit-boot-services", "Exit Boot Services Invocation"));
        events
            .push(action("exit-boot-services-success", "Exit Boot Services Returned with Success"));
        events
    }
}

/// What the EFI stub measures: UTF-16 with its terminator.
fn load_options(cmdline: &str) -> Vec<u8> {
    format!("{cmdline}{INITRD_OPTION}\0").encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn separator(register: usize) -> FirmwareEvent {
    hashed(register, event_type::SEPARATOR, "separator", vec![0; 4])
}

fn action(name: &str, text: &str) -> FirmwareEvent {
    hashed(1, event_type::ACTION, name, text.as_bytes().to_vec())
}

fn hashed(register: usize, event_type: u32, name: &str, data: Vec<u8>) -> FirmwareEvent {
    let digest = Sha384::digest(&data).into();
    FirmwareEvent { register, event_type, name: name.to_owned(), digest, data }
}

fn known(register: usize, event_type: u32, name: &str, digest: Register) -> FirmwareEvent {
    FirmwareEvent { register, event_type, name: name.to_owned(), digest, data: Vec::new() }
}

#[cfg(test)]
mod tests {
    use protocol::event_log::RawEvent;
    use protocol::quote::Quote;
    use serde_json::Value;

    use super::*;
    use crate::registers::Registers;

    const REPORT: &str = include_str!("../../tests/vectors/protocol/dstack-getquote.json");
    const LOADER: &[u8] =
        include_bytes!("../../tests/vectors/tdx-emulator/q8-2cpu-2GiB-6slots.loader.bin");
    const RSDP: &[u8] =
        include_bytes!("../../tests/vectors/tdx-emulator/q8-2cpu-2GiB-6slots.rsdp.bin");
    const TABLES: &[u8] =
        include_bytes!("../../tests/vectors/tdx-emulator/q8-2cpu-2GiB-6slots.tables.bin");

    fn text(report: &Value, key: &str) -> String {
        report[key].as_str().unwrap().to_owned()
    }

    fn blob_of(bytes: &[u8], full: usize) -> Vec<u8> {
        let mut blob = bytes.to_vec();
        blob.resize(full, 0);
        blob
    }

    /// The real launch behind the vector, with what its log says of files that are not at hand.
    fn real_launch(log: &[RawEvent]) -> LaunchMeasurement {
        let digest = |index: usize| hex::decode(&log[index].digest).unwrap().try_into().unwrap();
        LaunchMeasurement {
            mrtd: [0; 48],
            td_hob: td_hob::build(&td_hob::tests::ovmf_sections(), 2 << 30).unwrap(),
            configuration_volume: digest(1),
            kernel: digest(11),
            load_options: Vec::new(),
            initrd: digest(17),
        }
    }

    #[test]
    fn events_and_registers_of_a_real_guest_are_reproduced() {
        let report: Value = serde_json::from_str(REPORT).unwrap();
        let log: Vec<RawEvent> = serde_json::from_str(&text(&report, "event_log")).unwrap();
        let quote = Quote::parse_padded(&hex::decode(text(&report, "quote")).unwrap()).unwrap();
        let blobs = FirmwareBlobs {
            loader: blob_of(LOADER, 4096),
            rsdp: blob_of(RSDP, 20),
            tables: blob_of(TABLES, 131_072),
        };
        let events = real_launch(&log).events(&blobs);
        let mut registers = Registers::new([0; 48], [0; 48]);
        for (event, real) in events.iter().zip(&log) {
            assert_eq!(
                (event.register as u32, event.event_type),
                (real.imr, real.event_type),
                "{}",
                event.name
            );
            if event.name != "cmdline" {
                assert_eq!(hex::encode(event.digest), real.digest, "{}", event.name);
            }
            registers.extend(event.register, &event.digest);
        }
        assert_eq!(events.len(), log.iter().filter(|event| event.imr < 3).count());
        assert_eq!(registers.rtmrs[0], quote.report.rtmrs[0].0);
        assert_eq!(registers.rtmrs[1], quote.report.rtmrs[1].0);
    }

    #[test]
    fn load_options_end_with_the_firmwares_option_and_a_terminator() {
        let text: Vec<u8> = "a initrd=initrd\0".bytes().flat_map(|byte| [byte, 0]).collect();
        assert_eq!(load_options("a"), text);
    }
}
