//! The hand-off blocks that QEMU writes for the firmware: how much memory there is, and which is
//! accepted.
//!
//! Sources: QEMU `target/i386/kvm/tdx.c` (how ranges are split) and `hw/i386/tdvf-hob.c`; UEFI PI
//! 1.8, volume 3, section 5. The firmware measures the list without its end block.

use super::tdvf::{Section, SectionKind};

/// Memory below 4 GiB of a q35 machine that has more than fits there.
const LOW_MEMORY_IF_SPLIT: u64 = 0x8000_0000;
/// From this size on, memory is split.
const SPLIT_FROM: u64 = 0xb000_0000;
/// Where the upper part starts.
const HIGH_MEMORY: u64 = 1 << 32;

const HANDOFF_BLOCK_BYTES: u16 = 56;
const RESOURCE_BLOCK_BYTES: u16 = 48;
const END_BLOCK_BYTES: u64 = 8;
/// EFI_HOB_TYPE_HANDOFF and EFI_HOB_TYPE_RESOURCE_DESCRIPTOR.
const TYPE_HANDOFF: u16 = 1;
const TYPE_RESOURCE: u16 = 3;
const HANDOFF_VERSION: u32 = 9;
/// EFI_RESOURCE_SYSTEM_MEMORY and EFI_RESOURCE_MEMORY_UNACCEPTED.
const SYSTEM_MEMORY: u32 = 0;
const UNACCEPTED_MEMORY: u32 = 7;
/// Present, initialised, tested.
const RESOURCE_ATTRIBUTES: u32 = 7;

/// Why no hand-off list can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TdHobError {
    /// the firmware has no section for it, or several
    #[error("firmware: {0} sections for the hand-off blocks, expected 1")]
    Sections(usize),
    /// a section lies where no memory is, or upon another
    #[error(
        "firmware: section at {address:#x} does not lie in free memory; {memory_bytes} bytes of memory are too few?"
    )]
    NotMemory {
        /// The section's address.
        address: u64,
        /// Memory of the machine.
        memory_bytes: u64,
    },
}

/// A range of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Range {
    start: u64,
    bytes: u64,
    accepted: bool,
}

/// The list as measured, for a machine with `memory_bytes` of memory.
pub fn build(sections: &[Section], memory_bytes: u64) -> Result<Vec<u8>, TdHobError> {
    let hobs: Vec<_> =
        sections.iter().filter(|section| section.kind == SectionKind::TdHob).collect();
    let [hob] = hobs[..] else { return Err(TdHobError::Sections(hobs.len())) };
    let mut ranges = memory(memory_bytes);
    for section in sections {
        if matches!(section.kind, SectionKind::TdHob | SectionKind::TemporaryMemory) {
            accept(&mut ranges, section, memory_bytes)?;
        }
    }
    ranges.sort();
    Ok(encode(hob.address, &ranges))
}

/// What the memory map says before anything is accepted.
fn memory(bytes: u64) -> Vec<Range> {
    let range = |start, bytes| Range { start, bytes, accepted: false };
    if bytes < SPLIT_FROM {
        return vec![range(0, bytes)];
    }
    vec![range(0, LOW_MEMORY_IF_SPLIT), range(HIGH_MEMORY, bytes - LOW_MEMORY_IF_SPLIT)]
}

/// Cuts the section out of the free range around it.
fn accept(ranges: &mut Vec<Range>, section: &Section, memory_bytes: u64) -> Result<(), TdHobError> {
    let (start, end) = (section.address, section.address + section.memory_bytes);
    let around = |range: &&mut Range| {
        !range.accepted && range.start <= start && end <= range.start + range.bytes
    };
    let found = ranges.iter_mut().find(around);
    let range = found.ok_or(TdHobError::NotMemory { address: start, memory_bytes })?;
    let whole =
        std::mem::replace(range, Range { start, bytes: section.memory_bytes, accepted: true });
    let head = Range { bytes: start - whole.start, ..whole };
    let tail = Range { start: end, bytes: whole.start + whole.bytes - end, ..whole };
    ranges.extend([head, tail].into_iter().filter(|range| range.bytes > 0));
    Ok(())
}

fn encode(address: u64, ranges: &[Range]) -> Vec<u8> {
    let resources = ranges.len() as u64 * u64::from(RESOURCE_BLOCK_BYTES);
    let end_of_list = address + u64::from(HANDOFF_BLOCK_BYTES) + resources + END_BLOCK_BYTES;
    let mut list = block_header(TYPE_HANDOFF, HANDOFF_BLOCK_BYTES);
    list.extend(HANDOFF_VERSION.to_le_bytes());
    // Boot mode, then memory top, bottom, free top, free bottom: QEMU leaves them zero.
    list.extend([0; 4 + 4 * 8]);
    list.extend(end_of_list.to_le_bytes());
    for range in ranges {
        list.extend(block_header(TYPE_RESOURCE, RESOURCE_BLOCK_BYTES));
        list.extend([0; 16]);
        let kind = if range.accepted { SYSTEM_MEMORY } else { UNACCEPTED_MEMORY };
        list.extend(kind.to_le_bytes());
        list.extend(RESOURCE_ATTRIBUTES.to_le_bytes());
        list.extend(range.start.to_le_bytes());
        list.extend(range.bytes.to_le_bytes());
    }
    list
}

fn block_header(kind: u16, bytes: u16) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &bytes.to_le_bytes(), &[0; 4]].concat()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Memory sections of IntelTdxX64, edk2 2025.02.
    pub fn ovmf_sections() -> Vec<Section> {
        let section = |address, memory_bytes, kind| Section {
            kind,
            data_offset: 0,
            raw_bytes: 0,
            address,
            memory_bytes,
            extend: false,
            page_aug: false,
        };
        vec![
            section(0x81_0000, 0x1_0000, SectionKind::TemporaryMemory),
            section(0x80_b000, 0x2000, SectionKind::TemporaryMemory),
            section(0x80_9000, 0x2000, SectionKind::TdHob),
            section(0x80_0000, 0x6000, SectionKind::TemporaryMemory),
        ]
    }

    fn kinds_and_starts(list: &[u8]) -> Vec<(u8, u64, u64)> {
        let long = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
        list[56..]
            .chunks(48)
            .map(|block| (block[24], long(&block[32..40]), long(&block[40..])))
            .collect()
    }

    #[test]
    fn ranges_are_split_and_sorted() {
        let list = build(&ovmf_sections(), 2 << 30).unwrap();
        assert_eq!(list.len(), 440);
        let ranges = kinds_and_starts(&list);
        assert_eq!(ranges[0], (7, 0, 0x80_0000));
        assert_eq!(ranges[1], (0, 0x80_0000, 0x6000));
        assert_eq!(ranges[2], (7, 0x80_6000, 0x3000));
        assert_eq!(ranges.last(), Some(&(7, 0x82_0000, 0x8000_0000 - 0x82_0000)));
    }

    #[test]
    fn memory_is_split_from_2816_mib_on() {
        let below = kinds_and_starts(&build(&ovmf_sections(), 2815 << 20).unwrap());
        assert_eq!(below.last(), Some(&(7, 0x82_0000, (2815 << 20) - 0x82_0000)));
        let above = kinds_and_starts(&build(&ovmf_sections(), 2816 << 20).unwrap());
        assert_eq!(above.last(), Some(&(7, 1 << 32, (2816 << 20) - 0x8000_0000)));
    }

    #[test]
    fn too_little_memory_and_overlaps_are_refused() {
        let found = build(&ovmf_sections(), 4 << 20);
        assert_eq!(found, Err(TdHobError::NotMemory { address: 0x81_0000, memory_bytes: 4 << 20 }));
        let mut twice = ovmf_sections();
        twice.push(twice[0]);
        assert!(matches!(build(&twice, 2 << 30), Err(TdHobError::NotMemory { .. })));
        assert_eq!(build(&[], 2 << 30), Err(TdHobError::Sections(0)));
    }
}
