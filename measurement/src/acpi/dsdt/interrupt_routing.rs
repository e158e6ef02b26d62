//! PCI interrupt routing: which of the eight link devices each slot's four pins go to, with and
//! without APIC.

use std::sync::OnceLock;

use crate::acpi::aml::{
    Aml, Entry, and, arg, call, create_dword_field, device, eisa_id, equal, int, method, name,
    or_into, otherwise, package, path, ret, scope, store, when,
};
use crate::acpi::resource::{Trigger, interrupts, template};
use crate::profile::{LineTrigger, QemuProfile};

/// Slots of a bus.
const SLOTS: u32 = 32;
/// Pins A to D of a slot.
const PINS: u32 = 4;
/// Interrupts that a link can be routed to while the APIC is not used.
const ISA_CHOICES: [u32; 3] = [5, 10, 11];
/// Global interrupt of the first APIC link.
const FIRST_GLOBAL: u32 = 16;
/// `_UID` of the first APIC link.
const FIRST_GLOBAL_UID: u32 = 0x10;
/// The bit of a routing register that disables its link.
const DISABLED: u64 = 0x80;
/// Where an extended interrupt descriptor holds its first number.
const NUMBER_OFFSET: u64 = 5;

/// `PICF`, the interrupt model that the operating system chose, and the method by which it says so.
pub(super) fn mode() -> Aml {
    let choose = method("_PIC", 1, Entry::Concurrent, [store(arg(0), path("PICF"))]);
    crate::acpi::aml::list([name("PICF", int(0)), choose])
}

/// Both routing tables, the method that chooses one, and the sixteen links.
///
/// Two thirds of a DSDT, and the same for all machines of a trigger: made once, since a search
/// makes thousands.
pub(super) fn block(profile: QemuProfile) -> Aml {
    static LEVEL: OnceLock<Aml> = OnceLock::new();
    static EDGE: OnceLock<Aml> = OnceLock::new();
    match profile.line_trigger {
        LineTrigger::Level => LEVEL.get_or_init(|| tables_and_links(Trigger::Level)).clone(),
        LineTrigger::Edge => EDGE.get_or_init(|| tables_and_links(Trigger::Edge)).clone(),
    }
}

fn tables_and_links(trigger: Trigger) -> Aml {
    let by_mode =
        [when(equal(path("PICF"), int(0)), [ret(path("PRTP"))]), otherwise([ret(path("PRTA"))])];
    let tables = [
        name("PRTP", routing_table("LNK")),
        name("PRTA", routing_table("GSI")),
        method("_PRT", 0, Entry::Concurrent, by_mode),
    ];
    let mut terms = vec![scope("PCI0", tables), link_status(), link_resources(trigger)];
    terms.extend((0..8).map(|link| isa_link(link, trigger)));
    terms.extend((0..8).map(|link| global_link(link, trigger)));
    scope("_SB", terms)
}

/// One entry a slot and pin: address, pin, link, index into the link's resources.
fn routing_table(links: &str) -> Aml {
    let entry = |slot: u32, pin: u32| {
        let link = (first_link(slot) + pin) % PINS + first_link(slot) / PINS * PINS;
        let address = u64::from(slot << 16 | 0xffff);
        package(4, [int(address), int(pin.into()), path(&link_name(links, link)), int(0)])
    };
    let entries = (0..SLOTS).flat_map(|slot| (0..PINS).map(move |pin| (slot, pin)));
    package((SLOTS * PINS) as u8, entries.map(|(slot, pin)| entry(slot, pin)))
}

/// Link of a slot's pin A: slots 25 to 29 and 31 use links A to D in order, the others E to H
/// rotated by slot.
fn first_link(slot: u32) -> u32 {
    match slot {
        25..=29 | 31 => 0,
        30 => 4,
        _ => 4 + slot % PINS,
    }
}

fn link_name(family: &str, link: u32) -> String {
    format!("{family}{}", char::from(b'A' + link as u8))
}

/// `IQST`: a link's `_STA` from its routing register.
fn link_status() -> Aml {
    const PRESENT_DISABLED: u64 = 0x09;
    const PRESENT_ENABLED: u64 = 0x0b;
    let terms =
        [when(and(int(DISABLED), arg(0)), [ret(int(PRESENT_DISABLED))]), ret(int(PRESENT_ENABLED))];
    method("IQST", 1, Entry::Concurrent, terms)
}

/// `IQCR`: a link's `_CRS` from its routing register.
fn link_resources(trigger: Trigger) -> Aml {
    const ROUTE: u64 = 0x0f;
    let terms = [
        name("PRR0", template([interrupts(trigger, &[0])])),
        create_dword_field(path("PRR0"), NUMBER_OFFSET, "PRRI"),
        store(and(arg(0), int(ROUTE)), path("PRRI")),
        ret(path("PRR0")),
    ];
    method("IQCR", 1, Entry::Serialized, terms)
}

/// A link that the chipset's routing register `PRQx` sends to an ISA interrupt.
fn isa_link(link: u32, trigger: Trigger) -> Aml {
    let register = || path(&link_name("PRQ", link));
    let set = [create_dword_field(arg(0), NUMBER_OFFSET, "PRRI"), store(path("PRRI"), register())];
    let terms = [
        name("_HID", eisa_id("PNP0C0F")),
        name("_UID", int(link.into())),
        name("_PRS", template([interrupts(trigger, &ISA_CHOICES)])),
        method("_STA", 0, Entry::Concurrent, [ret(call("IQST", [register()]))]),
        method("_DIS", 0, Entry::Concurrent, [or_into(register(), int(DISABLED), register())]),
        method("_CRS", 0, Entry::Concurrent, [ret(call("IQCR", [register()]))]),
        method("_SRS", 1, Entry::Concurrent, set),
    ];
    device(&link_name("LNK", link), terms)
}

/// A link that is wired to one input of the I/O APIC.
fn global_link(link: u32, trigger: Trigger) -> Aml {
    let input = || template([interrupts(trigger, &[FIRST_GLOBAL + link])]);
    let terms = [
        name("_HID", eisa_id("PNP0C0F")),
        name("_UID", int((FIRST_GLOBAL_UID + link).into())),
        name("_PRS", input()),
        name("_CRS", input()),
        method("_DIS", 0, Entry::Concurrent, []),
        method("_SRS", 1, Entry::Concurrent, []),
    ];
    device(&link_name("GSI", link), terms)
}
