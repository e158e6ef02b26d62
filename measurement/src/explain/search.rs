//! Which machines are tried, in which order, and how many.
//!
//! One difference first, over whole ranges; then two at once, over the numbers that machines
//! usually have.

use protocol::shape::MAX_ROOT_SLOTS;

use crate::acpi::{AcpiBlobs, low_memory_bytes};
use crate::profile::QemuProfile;
use crate::{PageOrder, Shape};

/// Most sets of ACPI tables that are generated and hashed: about 1 ms each, so a second.
pub const MAX_TABLES: usize = 1050;
/// Most values of a register that are computed from known digests: 6 µs each, so a quarter of a
/// second.
pub const MAX_REPLAYS: usize = 40_000;

/// Every number of processors up to this is tried alone, then multiples of 8: beyond the largest
/// two-socket host.
const FINE_VCPUS: u32 = 128;
const MAX_VCPUS: u32 = 512;
/// Root slots that are tried together with something else; dstack's machines have 5 or 6 and one
/// for each disk more.
const USUAL_ROOT_SLOTS: u32 = 8;
/// Memory sizes are tried alone in steps of this up to [`MAX_MEMORY_MIB`].
const MEMORY_STEP_MIB: u64 = 256;
const MAX_MEMORY_MIB: u64 = 1 << 20;
/// Sizes below the split have tables of their own; they are tried alone in steps of this.
const LOW_MEMORY_STEP_MIB: u64 = 128;
/// Where the log names the memory, every MiB up to this is tried.
const FINE_MEMORY_MIB: u64 = 16 << 10;
/// What the largest sizes have below 4 GiB is all that the tables know of them.
const SPLIT_MIB: u64 = 2816;

/// What is left to spend.
#[derive(Debug)]
pub(super) struct Budget {
    tables: usize,
    replays: usize,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { tables: MAX_TABLES, replays: MAX_REPLAYS }
    }

    /// Takes one set of tables; `false`: none is left.
    pub(super) fn take_tables(&mut self) -> bool {
        take(&mut self.tables)
    }

    /// Takes one value of a register; `false`: none is left.
    pub(super) fn take_replay(&mut self) -> bool {
        take(&mut self.replays)
    }

    /// How many values were tried.
    pub(super) fn tried(&self) -> usize {
        MAX_REPLAYS - self.replays + MAX_TABLES - self.tables
    }
}

fn take(left: &mut usize) -> bool {
    let some = *left > 0;
    *left = left.saturating_sub(1);
    some
}

/// All memory sizes that are worth a look at the TD HOB alone, in MiB.
pub(super) fn memory_sizes(fine: bool) -> impl Iterator<Item = u64> {
    let finely = 1..=if fine { FINE_MEMORY_MIB } else { 0 };
    finely.chain((1..=MAX_MEMORY_MIB / MEMORY_STEP_MIB).map(|step| step * MEMORY_STEP_MIB))
}

/// Sizes whose machines have the same tables as one with 2 GiB, tried together with something else.
pub(super) fn usual_split_sizes() -> impl Iterator<Item = u64> {
    const GIB: [u64; 29] = [
        2, 3, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192,
        256, 320, 384, 512, 768, 1024,
    ];
    GIB.into_iter().map(|gib| gib << 10)
}

/// Whether both sizes give the same tables, for a machine with any 64-bit BAR.
pub(super) fn same_tables(one_mib: u64, other_mib: u64) -> bool {
    low_memory_bytes(one_mib << 20) == low_memory_bytes(other_mib << 20)
}

/// One profile for each kind of ACPI tables, named by its first family.
fn families() -> Vec<QemuProfile> {
    let mut kinds: Vec<QemuProfile> = Vec::new();
    for profile in QemuProfile::ALL {
        if kinds.iter().all(|kind| !same_generation(kind, &profile)) {
            kinds.push(profile);
        }
    }
    kinds
}

/// The families whose tables for this machine are those of its own: what they differ in may have no
/// effect there. Empty for a version that no profile describes.
pub(super) fn families_like(shape: &Shape) -> Vec<&'static str> {
    let Ok(own) = AcpiBlobs::for_shape(shape) else { return Vec::new() };
    let alike =
        QemuProfile::ALL.into_iter().filter(|other| AcpiBlobs::generate(shape, *other) == own);
    alike.map(|profile| profile.family).collect()
}

/// Whether two profiles generate the same ACPI tables for every machine.
fn same_generation(one: &QemuProfile, other: &QemuProfile) -> bool {
    let tables = |profile: &QemuProfile| QemuProfile {
        family: "",
        compared: crate::Compared::Never,
        page_order: PageOrder::SinglePass,
        kernel_header_patched: false,
        ..*profile
    };
    tables(one) == tables(other)
}

/// A change of one number of a machine.
type Change = Box<dyn Fn(&mut Shape)>;

fn change(edit: impl Fn(&mut Shape) + 'static) -> Change {
    Box::new(edit)
}

/// Machines that differ from `stated` in what the tables show: one number, then two. With `memory`
/// fixed none differs in its memory.
pub(super) fn machines<'a>(
    stated: &'a Shape,
    memory_is_known: bool,
) -> impl Iterator<Item = Shape> + 'a {
    let single = Axes::wide(memory_is_known).all().into_iter().flatten().map(|change| {
        let mut shape = stated.clone();
        change(&mut shape);
        shape
    });
    let axes = Axes::usual(memory_is_known).all();
    let pairs =
        (0..axes.len()).flat_map(|one| (one + 1..axes.len()).map(move |other| (one, other)));
    let doubled: Vec<Shape> = pairs
        .flat_map(|(one, other)| {
            let of_pair = |first: &Change| {
                axes[other].iter().map(|second| edited(stated, first, second)).collect::<Vec<_>>()
            };
            axes[one].iter().flat_map(of_pair).collect::<Vec<_>>()
        })
        .collect();
    single.chain(doubled).filter(move |shape| shape != stated)
}

fn edited(stated: &Shape, first: &Change, second: &Change) -> Shape {
    let mut shape = stated.clone();
    first(&mut shape);
    second(&mut shape);
    shape
}

/// The numbers of each axis, the rarest differences first.
struct Axes {
    vcpus: Vec<u32>,
    root_slots: u32,
    low_memory_mib: Vec<u64>,
}

impl Axes {
    fn wide(memory_is_known: bool) -> Self {
        let low = (1..SPLIT_MIB / LOW_MEMORY_STEP_MIB).map(|step| step * LOW_MEMORY_STEP_MIB);
        let memory = if memory_is_known { Vec::new() } else { low.chain([SPLIT_MIB]).collect() };
        let vcpus = (1..=FINE_VCPUS).chain((FINE_VCPUS + 8..=MAX_VCPUS).step_by(8)).collect();
        Self { vcpus, root_slots: MAX_ROOT_SLOTS, low_memory_mib: memory }
    }

    fn usual(memory_is_known: bool) -> Self {
        let vcpus = (1..=12).chain([14, 16, 20, 24, 28, 32, 40, 48, 64, 96]).collect();
        let low = vec![512, 768, 1024, 1536, 2560, SPLIT_MIB];
        let memory = if memory_is_known { Vec::new() } else { low };
        Self { vcpus, root_slots: USUAL_ROOT_SLOTS, low_memory_mib: memory }
    }

    fn all(self) -> [Vec<Change>; 6] {
        let of = |changes: &mut dyn Iterator<Item = Change>| changes.collect::<Vec<_>>();
        [
            of(&mut families()
                .into_iter()
                .map(|p| change(move |s| s.qemu_version = p.family.to_owned()))),
            of(&mut self.low_memory_mib.into_iter().map(|mib| change(move |s| s.memory_mib = mib))),
            of(&mut [false, true].into_iter().map(|on| change(move |s| s.pci_hotplug = on))),
            of(&mut (0..=2).map(|ports| change(move |s| s.serial_ports = ports))),
            of(&mut (1..=self.root_slots).map(|slots| change(move |s| s.root_slots = slots))),
            of(&mut self.vcpus.into_iter().map(|vcpus| change(move |s| s.vcpus = vcpus))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(serial_ports: u32, qemu_version: &str) -> Shape {
        let qemu_version = qemu_version.into();
        Shape {
            vcpus: 2,
            memory_mib: 2048,
            root_slots: 4,
            serial_ports,
            qemu_version,
            pci_hotplug: true,
        }
    }

    #[test]
    fn all_machines_fit_into_the_budget() {
        let stated = shape(1, "11.1.3");
        let tried = machines(&stated, false).count();
        assert!(tried <= MAX_TABLES, "{tried} machines");
        assert!(machines(&stated, true).all(|shape| shape.memory_mib == 2048));
    }

    #[test]
    fn families_without_a_difference_in_their_tables_are_one() {
        assert_eq!(families_like(&shape(1, "9.1")), ["9.0", "9.1"]);
        assert_eq!(families_like(&shape(1, "11.0")), ["11.0"]);
        assert_eq!(families_like(&shape(0, "11.0")), ["11.0", "11.1"]);
        assert_eq!(families().len(), 6);
    }
}
