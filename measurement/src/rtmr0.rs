//! RTMR0: the machine's configuration as the firmware sees it, an event list for each firmware
//! layout.
//!
//! Which events there are, and in which order, is the firmware's code; a layout names one such
//! list. Constants among the digests are computed from their preimages, never copied.

use protocol::digest::Sha384Digest;
use protocol::image::FirmwareFacts;
use protocol::shape::Shape;

use crate::acpi::AcpiBlobs;
use crate::event::{Event, Origin, Register, event_type};
use crate::layout::{FirmwareLayout, NO_LAYOUT};
use crate::predict_error::PredictError;
use crate::profile::QemuProfile;
use crate::td_hob;
use crate::tdvf::guid;

const GLOBAL_VARIABLE: [u8; 16] =
    guid(0x8be4_df61, 0x93ca, 0x11d2, [0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c]);
const IMAGE_SECURITY: [u8; 16] =
    guid(0xd719_b2cb, 0x3d3a, 0x4596, [0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f]);
/// The volume of OVMF's DXE phase.
const DXE_VOLUME: [u8; 16] =
    guid(0x7cb8_bdc9, 0xf8eb, 0x4f34, [0xaa, 0xea, 0x3e, 0xe4, 0xaf, 0x65, 0x16, 0xa1]);
/// The setup application in it.
const UI_APP: [u8; 16] =
    guid(0x462c_aa21, 0x7614, 0x4503, [0x83, 0x6e, 0x8a, 0xb6, 0xf4, 0x66, 0x23, 0x31]);
/// The boot menu in it.
const BOOT_MENU_APP: [u8; 16] =
    guid(0xeec2_5bdc, 0x67f2, 0x4d95, [0xb1, 0xd5, 0xf8, 0x1b, 0x20, 0x39, 0xd1, 0x1d]);

/// Position of the hand-off tables' event, from 0, in the only layout that has one.
pub(crate) const HANDOFF_TABLES: usize = 13;

/// What the firmware contributes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Firmware<'a> {
    /// Layout, ranges and configuration volume.
    pub facts: &'a FirmwareFacts,
    /// The reference for the digest that nobody can compute, where the layout has that event.
    pub handoff_tables: Option<Sha384Digest>,
}

/// The events of RTMR0 for a checked shape.
pub(crate) fn events(
    firmware: Firmware<'_>,
    shape: &Shape,
    profile: QemuProfile,
) -> Result<Vec<Event>, PredictError> {
    if firmware.facts.layout == NO_LAYOUT {
        return Err(PredictError::LayoutNotStated);
    }
    let layout = FirmwareLayout::from_name(&firmware.facts.layout)?;
    let mut events = Vec::from(memory_and_volume(firmware.facts, shape)?);
    if layout == FirmwareLayout::Edk2_2025_05 {
        events.extend(configuration_items());
    }
    events.extend(secure_boot_variables());
    events.push(Event::separator(Register::Rtmr0));
    events.extend(acpi(&AcpiBlobs::generate(shape, profile)));
    match layout {
        FirmwareLayout::Edk2_2025_02 => events.extend(hidden_setup()),
        FirmwareLayout::Edk2_2025_05 => {
            let stated =
                firmware.handoff_tables.ok_or(PredictError::HandoffTablesNotStated { layout })?;
            events.push(handoff_tables(stated));
            events.extend(menu_and_setup());
        }
    }
    Ok(events)
}

/// The first two events.
fn memory_and_volume(firmware: &FirmwareFacts, shape: &Shape) -> Result<[Event; 2], PredictError> {
    let volume = event(
        "cfv",
        event_type::EFI_PLATFORM_FIRMWARE_BLOB2,
        &[],
        "the firmware's configuration volume",
    );
    Ok([td_hob(firmware, shape.memory_mib)?, Event { digest: firmware.cfv_sha384, ..volume }])
}

/// The first event, which alone says how much memory there is.
pub(crate) fn td_hob(firmware: &FirmwareFacts, memory_mib: u64) -> Result<Event, PredictError> {
    let hob = td_hob::build(firmware.td_hob_base, &firmware.accepted_ranges, memory_mib << 20)?;
    Ok(event(
        "td-hob",
        event_type::EFI_HANDOFF_TABLES2,
        &hob,
        "the TD HOB: memory ranges of this memory size",
    ))
}

/// Items of fw_cfg that decide what is started.
fn configuration_items() -> [Event; 2] {
    const NO_MENU: [u8; 2] = [0, 0];
    /// The option ROM by which QEMU starts `-kernel` under a BIOS.
    const LOADER_ROM: &[u8] = b"/rom@genroms/linuxboot_dma.bin\0";
    let item =
        |name, value, preimage| event(name, event_type::PLATFORM_CONFIG_FLAGS, value, preimage);
    [
        item("boot-menu", &NO_MENU[..], "fw_cfg BootMenu: no menu"),
        item("boot-order-rom", LOADER_ROM, "fw_cfg bootorder: the direct boot ROM"),
    ]
}

/// The list of hand-off tables: the address and content of SMBIOS as QEMU made it.
fn handoff_tables(stated: Sha384Digest) -> Event {
    let preimage = "a stated reference, not computed: SMBIOS tables of the host";
    let computed = event("handoff-tables", event_type::EFI_HANDOFF_TABLES, &[], preimage);
    Event { digest: stated, origin: Origin::Stated, ..computed }
}

/// One boot option: the setup application, hidden.
fn hidden_setup() -> [Event; 2] {
    [
        boot_variable("BootOrder", &[0, 0], "one entry, 0000"),
        boot_variable(
            "Boot0000",
            &load_option(HIDDEN, "UiApp", UI_APP),
            "a load option: the setup application, hidden",
        ),
    ]
}

/// Two boot options: the menu, hidden, and the setup application.
fn menu_and_setup() -> [Event; 3] {
    let menu = load_option(HIDDEN, "BootManagerMenuApp", BOOT_MENU_APP);
    let setup = load_option(0, "EFI Firmware Setup", UI_APP);
    [
        boot_variable("BootOrder", &[0, 0, 1, 0], "two entries, 0000 and 0001"),
        boot_variable("Boot0000", &menu, "a load option: the boot menu, hidden"),
        boot_variable("Boot0001", &setup, "a load option: the setup application"),
    ]
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
        // UEFI_VARIABLE_DATA (TCG PC Client Platform Firmware Profile 1.05, section 10.2.6) without
        // data.
        let (name_length, data_length) =
            ((variable.len() as u64).to_le_bytes(), 0u64.to_le_bytes());
        let data = [&vendor[..], &name_length, &data_length, &utf16(variable)].concat();
        event(
            variable,
            event_type::EFI_VARIABLE_DRIVER_CONFIG,
            &data,
            "an empty Secure Boot variable",
        )
    })
}

fn acpi(blobs: &AcpiBlobs) -> [Event; 3] {
    let blob =
        |name, bytes, preimage| event(name, event_type::PLATFORM_CONFIG_FLAGS, bytes, preimage);
    [
        blob("acpi-loader", &blobs.loader, "fw_cfg etc/table-loader"),
        blob("acpi-rsdp", &blobs.rsdp, "fw_cfg etc/acpi/rsdp"),
        blob("acpi-tables", &blobs.tables, "fw_cfg etc/acpi/tables"),
    ]
}

fn boot_variable(name: &'static str, value: &[u8], preimage: &'static str) -> Event {
    event(name, event_type::EFI_VARIABLE_BOOT, value, preimage)
}

/// LOAD_OPTION_HIDDEN.
const HIDDEN: u32 = 0x008;

/// EFI_LOAD_OPTION (UEFI 2.10, section 3.1.3) of an application in the firmware.
fn load_option(attributes: u32, description: &str, application: [u8; 16]) -> Vec<u8> {
    const ACTIVE: u32 = 0x001;
    const CATEGORY_APP: u32 = 0x100;
    const MEDIA: u8 = 4;
    const FIRMWARE_VOLUME: u8 = 7;
    const FIRMWARE_FILE: u8 = 6;
    const END_OF_PATH: [u8; 4] = [0x7f, 0xff, 4, 0];
    let node = |kind: u8, id: [u8; 16]| [&[MEDIA, kind, 20, 0][..], &id].concat();
    let path =
        [node(FIRMWARE_VOLUME, DXE_VOLUME), node(FIRMWARE_FILE, application), END_OF_PATH.to_vec()]
            .concat();
    let attributes = (ACTIVE | CATEGORY_APP | attributes).to_le_bytes();
    let path_length = (path.len() as u16).to_le_bytes();
    [&attributes[..], &path_length, &utf16(description), &[0, 0], &path].concat()
}

fn event(name: &'static str, event_type: u32, content: &[u8], preimage: &'static str) -> Event {
    let digest = Sha384Digest::of(content);
    Event {
        register: Register::Rtmr0,
        name: name.into(),
        event_type,
        digest,
        preimage: preimage.into(),
        origin: Origin::Computed,
    }
}

/// UTF-16, little endian.
pub(crate) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}
