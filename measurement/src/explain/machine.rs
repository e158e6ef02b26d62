//! RTMR0: which machine it is that of.

use protocol::digest::{Rtmr, Sha384Digest};

use super::cause::{self, Cause, Explanation, Field, Part};
use super::search::{self, Budget};
use super::{Known, RegisterLog, alignment};
use crate::acpi::AcpiBlobs;
use crate::event::{Event, Register, replay};
use crate::layout::FirmwareLayout;
use crate::profile::QemuProfile;
use crate::rtmr0::{self, Firmware};
use crate::{ImageFacts, Shape};

/// Names of the events that ACPI tables decide.
const ACPI: [&str; 3] = ["acpi-loader", "acpi-rsdp", "acpi-tables"];
const TD_HOB: &str = "td-hob";

/// What RTMR0 says of the machine.
pub(super) struct Machine {
    pub explanation: Explanation,
    /// Its memory, if it is known.
    pub memory_mib: Option<u64>,
}

/// Explains an RTMR0 that is not that of `expected`.
pub(super) fn explain(
    known: &Known<'_>,
    expected: &[Event],
    log: &RegisterLog,
    found: Rtmr,
) -> Machine {
    let mut budget = Budget::new();
    let candidate = if log.replays {
        Some(by_log(known, expected, &log.digests, &mut budget))
    } else {
        by_value(known, expected, found, &mut budget)
    };
    match candidate {
        Some(Candidate { shape, causes }) => Machine {
            explanation: Explanation::Because(causes),
            memory_mib: Some(shape.memory_mib),
        },
        None => {
            let log_does_not_replay = !log.digests.is_empty();
            let explanation = Explanation::Unknown { tried: budget.tried(), log_does_not_replay };
            Machine { explanation, memory_mib: None }
        }
    }
}

/// A machine that gives the found value, with all that distinguishes it.
struct Candidate {
    shape: Shape,
    causes: Vec<Cause>,
}

/// Takes the log's events one by one: each names its own cause.
fn by_log(
    known: &Known<'_>,
    expected: &[Event],
    logged: &[Sha384Digest],
    budget: &mut Budget,
) -> Candidate {
    let mut shape = known.stated.clone();
    let has = |digest: &Sha384Digest| logged.contains(digest);
    if !expected.iter().any(|event| event.name == TD_HOB && has(&event.digest)) {
        shape.memory_mib = logged_memory(known, &has).unwrap_or(shape.memory_mib);
    }
    if let Some(machine) = logged_machine(known, &shape, &has, budget) {
        shape = machine;
    }
    let lists = firmwares(known, logged).into_iter().filter_map(|(of_firmware, firmware)| {
        let profile = QemuProfile::for_version(&shape.qemu_version).ok()?;
        let events = rtmr0::events(firmware.as_firmware(), &shape, profile).ok()?;
        let differing = joined_acpi(alignment::differences(&events, logged));
        Some([of_firmware, differing].concat())
    });
    let of_firmware = lists.min_by_key(|causes| cause::weight(causes));
    let differing = of_firmware.unwrap_or_else(|| alignment::differences(expected, logged));
    Candidate { causes: shape_causes(known, &shape).into_iter().chain(differing).collect(), shape }
}

/// A firmware that may have made the log: the expected one with and without another layout, another
/// image's.
struct OwnFirmware {
    facts: protocol::image::FirmwareFacts,
    handoff_tables: Option<Sha384Digest>,
}

impl OwnFirmware {
    fn as_firmware(&self) -> Firmware<'_> {
        Firmware { facts: &self.facts, handoff_tables: self.handoff_tables }
    }
}

fn firmwares(known: &Known<'_>, logged: &[Sha384Digest]) -> Vec<(Vec<Cause>, OwnFirmware)> {
    let own = |image: &ImageFacts<'_>| OwnFirmware {
        facts: image.firmware.clone(),
        handoff_tables: image.handoff_tables.or(logged.get(rtmr0::HANDOFF_TABLES).copied()),
    };
    // A digest that was taken from the log may be anything: that is a part of the cause.
    let because = |cause: Cause, image: &ImageFacts<'_>, layout: &str| {
        let taken = image.handoff_tables.is_none() && layout == FirmwareLayout::Edk2_2025_05.name();
        [cause].into_iter().chain(taken.then_some(Cause::HandoffTables)).collect()
    };
    let mut list = vec![(Vec::new(), own(known.image))];
    for found in FirmwareLayout::ALL {
        let expected = known.image.firmware.layout.clone();
        if found.name() != expected {
            let mut firmware = own(known.image);
            firmware.facts.layout = found.name().to_owned();
            list.push((
                because(Cause::Layout { found, expected }, known.image, found.name()),
                firmware,
            ));
        }
    }
    let named = known.others.iter().map(|other| {
        let cause = Cause::OtherImage { part: Part::Firmware, name: other.name.clone() };
        (because(cause, &other.facts, &other.facts.firmware.layout), own(&other.facts))
    });
    list.extend(named);
    list
}

/// The memory size whose TD HOB is in the log.
fn logged_memory(known: &Known<'_>, has: &impl Fn(&Sha384Digest) -> bool) -> Option<u64> {
    let claimed = known.claimed.map(|shape| shape.memory_mib);
    let images =
        || std::iter::once(known.image).chain(known.others.iter().map(|other| &other.facts));
    claimed.into_iter().chain(search::memory_sizes(true)).find(|mib| {
        images()
            .any(|image| rtmr0::td_hob(&image.firmware, *mib).is_ok_and(|event| has(&event.digest)))
    })
}

/// The machine of this memory whose tables are in the log; `None`: no neighbour.
fn logged_machine(
    known: &Known<'_>,
    with_memory: &Shape,
    has: &impl Fn(&Sha384Digest) -> bool,
    budget: &mut Budget,
) -> Option<Shape> {
    let claimed = known
        .claimed
        .map(|claimed| Shape { memory_mib: with_memory.memory_mib, ..claimed.clone() });
    let first = [with_memory.clone()].into_iter().chain(claimed);
    first.chain(search::machines(with_memory, true)).find(|shape| {
        // The root pointer is short, and holds nothing but the length of the tables: most machines
        // fail there.
        budget.take_tables()
            && blobs(shape).is_some_and(|blobs| {
                has(&Sha384Digest::of(&blobs.rsdp))
                    && has(&Sha384Digest::of(&blobs.loader))
                    && has(&Sha384Digest::of(&blobs.tables))
            })
    })
}

fn blobs(shape: &Shape) -> Option<AcpiBlobs> {
    AcpiBlobs::for_shape(shape).ok()
}

/// One list of tables makes three events: if several of them are of no neighbour, that is said
/// once.
fn joined_acpi(mut causes: Vec<Cause>) -> Vec<Cause> {
    let of_acpi = |cause: &Cause| matches!(cause, Cause::Changed { name, .. } if ACPI.contains(&name.as_str()));
    if causes.iter().filter(|cause| of_acpi(cause)).count() > 1 {
        causes.retain(|cause| !of_acpi(cause));
        causes.push(Cause::UnknownTables);
    }
    causes
}

/// Tries machines until one gives the value.
fn by_value(
    known: &Known<'_>,
    expected: &[Event],
    found: Rtmr,
    budget: &mut Budget,
) -> Option<Candidate> {
    let stated = known.stated;
    for (cause, edited) in alignment::single_edits(expected) {
        if budget.take_replay() && Rtmr::replay(&edited) == found {
            return Some(Candidate { shape: stated.clone(), causes: vec![cause] });
        }
    }
    let of_value = ByValue { known, expected, found };
    if let Some(memory_mib) =
        search::memory_sizes(false).find(|mib| of_value.has_memory(*mib, stated, budget))
    {
        let shape = Shape { memory_mib, ..stated.clone() };
        return Some(of_value.candidate(shape));
    }
    let tried = known.claimed.cloned().into_iter().chain(search::machines(stated, false));
    for shape in tried {
        if !budget.take_tables() {
            return None;
        }
        if let Some(memory_mib) = of_value.memory_of(&shape, budget) {
            return Some(of_value.candidate(Shape { memory_mib, ..shape }));
        }
    }
    of_value.other_images()
}

/// A search without a log.
struct ByValue<'a> {
    known: &'a Known<'a>,
    expected: &'a [Event],
    found: Rtmr,
}

impl ByValue<'_> {
    /// Whether the stated machine with another memory, whose tables are the same, has the value.
    fn has_memory(&self, memory_mib: u64, stated: &Shape, budget: &mut Budget) -> bool {
        let alike = search::same_tables(memory_mib, stated.memory_mib) && stated.root_slots > 1;
        alike && self.is_found(self.expected, memory_mib, budget)
    }

    /// The memory with which a machine of these tables has the value.
    fn memory_of(&self, shape: &Shape, budget: &mut Budget) -> Option<u64> {
        let profile = QemuProfile::for_version(&shape.qemu_version).ok()?;
        let events = rtmr0::events(self.known.image.rtmr0_firmware(), shape, profile).ok()?;
        let others =
            search::usual_split_sizes().filter(|mib| search::same_tables(*mib, shape.memory_mib));
        let others = others.filter(|_| shape.root_slots > 1);
        [shape.memory_mib]
            .into_iter()
            .chain(others)
            .find(|mib| self.is_found(&events, *mib, budget))
    }

    /// Whether `events`, with the TD HOB of this memory, replay to the value.
    fn is_found(&self, events: &[Event], memory_mib: u64, budget: &mut Budget) -> bool {
        let Ok(hob) = rtmr0::td_hob(&self.known.image.firmware, memory_mib) else { return false };
        let digests = events
            .iter()
            .map(|event| if event.name == TD_HOB { &hob.digest } else { &event.digest });
        budget.take_replay() && Rtmr::replay(digests) == self.found
    }

    /// The stated machine with another image's firmware.
    fn other_images(&self) -> Option<Candidate> {
        let profile = QemuProfile::for_version(&self.known.stated.qemu_version).ok()?;
        let other = self.known.others.iter().find(|other| {
            let events = rtmr0::events(other.facts.rtmr0_firmware(), self.known.stated, profile);
            events.is_ok_and(|events| replay(Register::Rtmr0, &events) == self.found)
        })?;
        let cause = Cause::OtherImage { part: Part::Firmware, name: other.name.clone() };
        Some(Candidate { shape: self.known.stated.clone(), causes: vec![cause] })
    }

    fn candidate(&self, shape: Shape) -> Candidate {
        Candidate { causes: shape_causes(self.known, &shape), shape }
    }
}

/// All numbers in which a machine differs from the stated one.
fn shape_causes(known: &Known<'_>, found: &Shape) -> Vec<Cause> {
    let stated = known.stated;
    let numbers = [
        (Field::Vcpus, u64::from(found.vcpus), u64::from(stated.vcpus)),
        (Field::MemoryMib, found.memory_mib, stated.memory_mib),
        (Field::RootSlots, u64::from(found.root_slots), u64::from(stated.root_slots)),
        (Field::SerialPorts, u64::from(found.serial_ports), u64::from(stated.serial_ports)),
        (Field::PciHotplug, u64::from(found.pci_hotplug), u64::from(stated.pci_hotplug)),
    ];
    let differing = numbers.into_iter().filter(|(_, found, expected)| found != expected);
    let mut causes: Vec<Cause> = differing
        .map(|(field, found, expected)| Cause::Shape {
            field,
            found,
            expected,
            stated: known.stated_by.field(field),
        })
        .collect();
    let families = search::families_like(found);
    if QemuProfile::for_version(&stated.qemu_version)
        .is_ok_and(|expected| !families.contains(&expected.family))
    {
        let expected = stated.qemu_version.clone();
        causes.push(Cause::Qemu { families, expected, stated: known.stated_by.qemu_version });
    }
    causes
}
