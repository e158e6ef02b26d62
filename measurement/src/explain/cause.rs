//! Causes and their sentences.

use std::fmt;

use crate::acpi::{SPLIT_LOW_BYTES, SPLIT_MEMORY_BYTES, low_memory_bytes};
use crate::layout::FirmwareLayout;
use crate::profile::PageOrder;

/// One number of a machine's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// Virtual processors.
    Vcpus,
    /// Memory in MiB.
    MemoryMib,
    /// Functions on the root bus.
    RootSlots,
    /// ISA serial ports.
    SerialPorts,
    /// ACPI PCI hot-plug, 0 or 1.
    PciHotplug,
}

/// Which parts of an expected machine a person stated; the others are what the evidence claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatedBy {
    /// Stated: processors.
    pub vcpus: bool,
    /// Stated: memory.
    pub memory_mib: bool,
    /// Stated: functions on the root bus.
    pub root_slots: bool,
    /// Stated: serial ports.
    pub serial_ports: bool,
    /// Stated: PCI hot-plug.
    pub pci_hotplug: bool,
    /// Stated: QEMU's version.
    pub qemu_version: bool,
}

impl StatedBy {
    /// A person stated everything.
    pub const PERSON: Self = Self {
        vcpus: true,
        memory_mib: true,
        root_slots: true,
        serial_ports: true,
        pci_hotplug: true,
        qemu_version: true,
    };

    pub(super) fn field(self, field: Field) -> bool {
        match field {
            Field::Vcpus => self.vcpus,
            Field::MemoryMib => self.memory_mib,
            Field::RootSlots => self.root_slots,
            Field::SerialPorts => self.serial_ports,
            Field::PciHotplug => self.pci_hotplug,
        }
    }
}

/// A part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The firmware.
    Firmware,
    /// The kernel.
    Kernel,
    /// The command line.
    CommandLine,
    /// The initrd.
    Initrd,
    /// Both.
    CommandLineAndInitrd,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Another number in the machine's shape.
    Shape {
        /// Part of the shape that differs.
        field: Field,
        /// Of the measured machine.
        found: u64,
        /// Of the expected one.
        expected: u64,
        /// Whether a person stated it.
        stated: bool,
    },
    /// Another version of QEMU.
    Qemu {
        /// Families that give this value, all the same.
        families: Vec<&'static str>,
        /// The expected version.
        expected: String,
        /// Whether a person stated it.
        stated: bool,
    },
    /// Pages were added and measured in the other order.
    PageOrder {
        /// The order found.
        found: PageOrder,
    },
    /// The kernel's setup header was, or was not, rewritten by QEMU.
    KernelHeader {
        /// The memory with which QEMU rewrote it; `None`: it left it alone.
        rewritten_for_mib: Option<u64>,
    },
    /// The firmware measures another list of events.
    Layout {
        /// The layout found.
        found: FirmwareLayout,
        /// The expected layout.
        expected: String,
    },
    /// Hand-off tables for which there is no reference: whatever the log says of them was taken.
    HandoffTables,
    /// Another image's part.
    OtherImage {
        /// Which part.
        part: Part,
        /// The other image's name.
        name: String,
    },
    /// An expected event is not there.
    Missing {
        /// Its position among the expected events, from 0.
        index: usize,
        /// Its name.
        name: String,
    },
    /// An event that was not expected.
    Extra {
        /// Its position in the register's log, from 0.
        index: usize,
        /// The expected event that it repeats; `None`: it is none of them.
        repeats: Option<String>,
    },
    /// The expected events, in another order.
    Order {
        /// Those that moved, in the order in which they were expected.
        moved: Vec<String>,
    },
    /// An event measures something else, which is not among the neighbours.
    Changed {
        /// Its position among the expected events, from 0.
        index: usize,
        /// Its name.
        name: String,
    },
    /// The ACPI tables, and the lengths that go with them, are those of no machine that was tried.
    UnknownTables,
    /// The guest's events were extended in the form of dstack's event log version 2.
    DigestVersion2,
}

/// How little a list of causes explains: an event that measures nobody knows what counts for ten
/// that are known.
pub(super) fn weight(causes: &[Cause]) -> usize {
    causes.iter().map(|cause| if cause.is_unknown() { 10 } else { 1 }).sum()
}

/// Why a register differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Explanation {
    /// The value follows from exactly these causes; never empty.
    Because(Vec<Cause>),
    /// The value follows from nothing that was tried.
    Unknown {
        /// How many predictions were tried.
        tried: usize,
        /// Whether there was a log and it does not replay to the value.
        log_does_not_replay: bool,
    },
}

impl Explanation {
    /// The causes, if they are known.
    pub fn causes(&self) -> &[Cause] {
        match self {
            Self::Because(causes) => causes,
            Self::Unknown { .. } => &[],
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Because(causes) => match causes.as_slice() {
                [one] if one.is_of_events() => write!(f, "{one}"),
                [one] => write!(f, "it is that of {one}"),
                more => {
                    f.write_str("more than one cause: ")?;
                    let texts: Vec<String> = more.iter().map(ToString::to_string).collect();
                    f.write_str(&texts.join("; and "))
                }
            },
            Self::Unknown { tried, log_does_not_replay } => {
                write!(
                    f,
                    "no single known cause ({tried} neighbours tried): more than one cause, or another one"
                )?;
                let why =
                    "; the firmware's log does not replay to it either, so it explains nothing";
                f.write_str(if *log_does_not_replay { why } else { "" })
            }
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape { field, found, expected, stated } => {
                write!(f, "{}; {} {}", field.with(*found), whose(*stated), field.alone(*expected))
            }
            Self::Qemu { families, expected, stated } => {
                write!(f, "QEMU {}; {} {expected}", families.join(" or "), whose(*stated))
            }
            Self::PageOrder { found: PageOrder::SinglePass } => {
                f.write_str("the expected firmware, added page by page (QEMU 9.0 and later)")
            }
            Self::PageOrder { found: PageOrder::TwoPass } => {
                f.write_str("the expected firmware, added in two passes (the TDX trees of QEMU 8)")
            }
            Self::KernelHeader { rewritten_for_mib: None } => {
                f.write_str("a kernel as its file is, which QEMU 10.2 and later leave alone")
            }
            Self::KernelHeader { rewritten_for_mib: Some(mib) } => {
                write!(f, "a kernel whose header QEMU before 10.2 rewrote for memory of {}", same_header(*mib))
            }
            Self::Layout { found, expected } => write!(f, "a firmware of layout {found}, not {expected}"),
            Self::HandoffTables => f.write_str("hand-off tables that are not computed"),
            Self::OtherImage { part, name } => write!(f, "the {part} of {name}"),
            Self::Missing { index, name } => write!(f, "event {index} ({name}) is missing"),
            Self::Extra { index, repeats: Some(name) } => write!(f, "event {index} measures {name} a second time"),
            Self::Extra { index, repeats: None } => write!(f, "event {index} is one that was not expected"),
            Self::Order { moved } => write!(f, "its events are in another order: {} moved", moved.join(", ")),
            Self::Changed { index, name } => {
                write!(f, "event {index} ({name}) measures something else, which is of no known neighbour")
            }
            Self::UnknownTables => f.write_str(
                "its ACPI tables are of no known neighbour: more than one number of the machine differs, or they are the host's own",
            ),
            Self::DigestVersion2 => f.write_str("these events, extended as dstack's event log version 2 does"),
        }
    }
}

impl Cause {
    /// Whether it says that something differs, but not what it is.
    fn is_unknown(&self) -> bool {
        matches!(self, Self::Changed { .. } | Self::UnknownTables | Self::HandoffTables)
    }

    /// Whether it is a sentence about events, not a name for what was measured.
    fn is_of_events(&self) -> bool {
        self.is_unknown()
            || matches!(self, Self::Missing { .. } | Self::Extra { .. } | Self::Order { .. })
    }
}

/// All memory sizes for which QEMU writes the header that it writes for this one.
fn same_header(memory_mib: u64) -> String {
    if low_memory_bytes(memory_mib << 20) == SPLIT_LOW_BYTES {
        format!("{} MiB, or {} MiB and more", SPLIT_LOW_BYTES >> 20, SPLIT_MEMORY_BYTES >> 20)
    } else {
        format!("{memory_mib} MiB")
    }
}

fn whose(stated: bool) -> &'static str {
    if stated { "you stated" } else { "the evidence claims" }
}

impl Field {
    fn with(self, value: u64) -> String {
        match self {
            Self::Vcpus => format!("{value} vCPUs"),
            Self::MemoryMib => format!("{value} MiB of memory"),
            Self::RootSlots => format!("{value} root slots"),
            Self::SerialPorts => format!("{value} serial ports"),
            Self::PciHotplug => format!("a machine {} PCI hot-plug", self.alone(value)),
        }
    }

    fn alone(self, value: u64) -> String {
        match (self, value) {
            (Self::PciHotplug, 0) => "without".to_owned(),
            (Self::PciHotplug, _) => "with".to_owned(),
            _ => value.to_string(),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Firmware => "firmware",
            Self::Kernel => "kernel",
            Self::CommandLine => "command line",
            Self::Initrd => "initrd",
            Self::CommandLineAndInitrd => "command line and initrd",
        })
    }
}
