//! RTMR0: the machine's configuration as the firmware sees it, an event list for each firmware layout.
//!
//! Which events there are, and in which order, is the firmware's code; a layout names one such list.
//! Constants among the digests are computed from their preimages, never copied.

use protocol::digest::Sha384Digest;
use protocol::image::FirmwareFacts;
use protocol::shape::Shape;

use crate::acpi::AcpiBlobs;
use crate::event::{Event, Register, event_type};
use crate::predict::PredictError;
use crate::profile::QemuProfile;
use crate::td_hob;
use crate::tdvf::guid;

const GLOBAL_VARIABLE: [u8; 16] = guid(0x8be4_df61, 0x93ca, 0x11d2, [0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c]);
const IMAGE_SECURITY: [u8; 16] = guid(0xd719_b2cb, 0x3d3a, 0x4596, [0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f]);
/// The volume of OVMF's DXE phase.
const DXE_VOLUME: [u8; 16] = guid(0x7cb8_bdc9, 0xf8eb, 0x4f34, [0xaa, 0xea, 0x3e, 0xe4, 0xaf, 0x65, 0x16, 0xa1]);
/// The setup application in it.
const UI_APP: [u8; 16] = guid(0x462c_aa21, 0x7614, 0x4503, [0x83, 0x6e, 0x8a, 0xb6, 0xf4, 0x66, 0x23, 0x31]);

/// Which events a firmware measures into RTMR0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirmwareLayout {
    /// 13 events: edk2 up to its stable tag 2025.02.
    Edk2_2025_02,
}

/// A layout that this program does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("firmware layout `{layout}` is unknown, known is edk2-2025.02; is this image of a newer dstyx?")]
pub struct UnknownLayout {
    /// What was asked for.
    pub layout: String,
}

impl FirmwareLayout {
    /// Its name in image.json.
    pub fn name(self) -> &'static str {
        match self {
            Self::Edk2_2025_02 => "edk2-2025.02",
        }
    }

    /// The layout of that name.
    pub fn from_name(name: &str) -> Result<Self, UnknownLayout> {
        let known = [Self::Edk2_2025_02].into_iter().find(|layout| layout.name() == name);
        known.ok_or_else(|| UnknownLayout { layout: name.to_owned() })
    }
}

/// The events of RTMR0 for a checked shape.
pub(crate) fn events(
    firmware: &FirmwareFacts,
    shape: &Shape,
    profile: QemuProfile,
) -> Result<Vec<Event>, PredictError> {
    match FirmwareLayout::from_name(&firmware.layout)? {
        FirmwareLayout::Edk2_2025_02 => edk2_2025_02(firmware, shape, profile),
    }
}

fn edk2_2025_02(firmware: &FirmwareFacts, shape: &Shape, profile: QemuProfile) -> Result<Vec<Event>, PredictError> {
    let hob = td_hob::build(firmware.td_hob_base, &firmware.accepted_ranges, shape.memory_mib << 20)?;
    let mut events = vec![
        event("td-hob", event_type::EFI_HANDOFF_TABLES2, &hob, "the TD HOB: memory ranges of this memory size"),
        Event {
            digest: firmware.cfv_sha384,
            ..event("cfv", event_type::EFI_PLATFORM_FIRMWARE_BLOB2, &[], "the firmware's configuration volume")
        },
    ];
    events.extend(secure_boot_variables());
    events.push(Event::separator(Register::Rtmr0));
    events.extend(acpi(&AcpiBlobs::generate(shape, profile)));
    events.push(boot_variable("BootOrder", &[0, 0], "one entry, 0000"));
    events.push(boot_variable("Boot0000", &ui_app_load_option(), "a load option: the setup application, hidden"));
    Ok(events)
}

/// The variables of Secure Boot, all absent.
fn secure_boot_variables() -> impl Iterator<Item = Event> {
    let variables = [
        ("SecureBoot", GLOBAL_VARIABLE),
        ("PK", GLOBAL_VARIABLE),
        ("KEK", GLOBAL_VARIABLE),
        ("db", IMAGE_SECURITY),
        ("dbx", IMAGE_SECURITY),
    ];
    variables.into_iter().map(|(variable, vendor)| {
        // UEFI_VARIABLE_DATA (TCG PC Client Platform Firmware Profile 1.05, section 10.2.6) without data.
        let (name_length, data_length) = ((variable.len() as u64).to_le_bytes(), 0u64.to_le_bytes());
        let data = [&vendor[..], &name_length, &data_length, &utf16(variable)].concat();
        event(variable, event_type::EFI_VARIABLE_DRIVER_CONFIG, &data, "an empty Secure Boot variable")
    })
}

fn acpi(blobs: &AcpiBlobs) -> [Event; 3] {
    let blob = |name, bytes, preimage| event(name, event_type::PLATFORM_CONFIG_FLAGS, bytes, preimage);
    [
        blob("acpi-loader", &blobs.loader, "fw_cfg etc/table-loader"),
        blob("acpi-rsdp", &blobs.rsdp, "fw_cfg etc/acpi/rsdp"),
        blob("acpi-tables", &blobs.tables, "fw_cfg etc/acpi/tables"),
    ]
}

fn boot_variable(name: &'static str, value: &[u8], preimage: &'static str) -> Event {
    event(name, event_type::EFI_VARIABLE_BOOT, value, preimage)
}

/// EFI_LOAD_OPTION (UEFI 2.10, section 3.1.3) of the setup application.
fn ui_app_load_option() -> Vec<u8> {
    const ACTIVE: u32 = 0x001;
    const HIDDEN: u32 = 0x008;
    const CATEGORY_APP: u32 = 0x100;
    const MEDIA: u8 = 4;
    const FIRMWARE_VOLUME: u8 = 7;
    const FIRMWARE_FILE: u8 = 6;
    const END_OF_PATH: [u8; 4] = [0x7f, 0xff, 4, 0];
    let node = |kind: u8, id: [u8; 16]| [&[MEDIA, kind, 20, 0][..], &id].concat();
    let path = [node(FIRMWARE_VOLUME, DXE_VOLUME), node(FIRMWARE_FILE, UI_APP), END_OF_PATH.to_vec()].concat();
    let attributes = (ACTIVE | HIDDEN | CATEGORY_APP).to_le_bytes();
    let path_length = (path.len() as u16).to_le_bytes();
    [&attributes[..], &path_length, &utf16("UiApp\0"), &path].concat()
}

fn event(name: &'static str, event_type: u32, content: &[u8], preimage: &'static str) -> Event {
    let digest = Sha384Digest::of(content);
    Event { register: Register::Rtmr0, name: name.into(), event_type, digest, preimage: preimage.into() }
}

/// UTF-16, little endian.
pub(crate) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}
