//! The TD HOB: the list of memory that QEMU writes for the firmware, and RTMR0's first event.
//!
//! It depends on the firmware (where the list lies, which pages are accepted before boot) and on
//! the memory size. Sources: UEFI Platform Initialization specification 1.8, volume 3; QEMU
//! `hw/i386/tdvf-hob.c`.

use crate::acpi::{SPLIT_LOW_BYTES, SPLIT_MEMORY_BYTES};

const FOUR_GIB: u64 = 1 << 32;
/// Length of the hand-off block, the list's first entry.
const HANDOFF_BYTES: u16 = 56;
/// Length of a resource descriptor.
const RESOURCE_BYTES: u16 = 48;
/// Length of the end mark, which is in the list but not measured.
const END_BYTES: u64 = 8;
/// Resource attributes: present, initialised, tested.
const ATTRIBUTES: u32 = 7;

/// What a range of memory is.
#[derive(Debug, Clone, Copy)]
enum Resource {
    /// System memory, accepted by the VMM for the firmware.
    Accepted = 0,
    /// Memory that the guest must accept first.
    Unaccepted = 7,
}

/// A shape that cannot hold the firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HobError {
    /// a range that the firmware needs lies behind the end of memory
    #[error(
        "the firmware needs memory up to {needed:#x}, the guest has {memory_bytes:#x} bytes below 4 GiB"
    )]
    TooLittleMemory {
        /// End of the firmware's last range.
        needed: u64,
        /// Memory below 4 GiB.
        memory_bytes: u64,
    },
    /// ranges out of order, empty or overlapping
    #[error("the firmware's ranges are not in order: {start:#x} follows {previous_end:#x}")]
    Disordered {
        /// Start of the range at fault.
        start: u64,
        /// End of the one before.
        previous_end: u64,
    },
}

/// The measured bytes for `memory_bytes` of memory.
///
/// `accepted` are the firmware's TD HOB and temporary memory ranges as (start, length), by address.
pub fn build(
    hob_base: u64,
    accepted: &[(u64, u64)],
    memory_bytes: u64,
) -> Result<Vec<u8>, HobError> {
    let ranges = resources(accepted, memory_bytes)?;
    let length = u64::from(HANDOFF_BYTES) + u64::from(RESOURCE_BYTES) * ranges.len() as u64;
    let mut bytes = handoff(hob_base.wrapping_add(length + END_BYTES));
    ranges
        .into_iter()
        .for_each(|(resource, start, length)| bytes.extend(descriptor(resource, start, length)));
    Ok(bytes)
}

fn resources(
    accepted: &[(u64, u64)],
    memory_bytes: u64,
) -> Result<Vec<(Resource, u64, u64)>, HobError> {
    let split = memory_bytes >= SPLIT_MEMORY_BYTES;
    let low_end = if split { SPLIT_LOW_BYTES } else { memory_bytes };
    let mut ranges = Vec::new();
    let mut at = 0;
    for &(start, length) in accepted {
        if start < at || length == 0 {
            return Err(HobError::Disordered { start, previous_end: at });
        }
        if start > at {
            ranges.push((Resource::Unaccepted, at, start - at));
        }
        ranges.push((Resource::Accepted, start, length));
        at = start.saturating_add(length);
        if at > low_end {
            return Err(HobError::TooLittleMemory { needed: at, memory_bytes: low_end });
        }
    }
    if at < low_end {
        ranges.push((Resource::Unaccepted, at, low_end - at));
    }
    if split {
        ranges.push((Resource::Unaccepted, FOUR_GIB, memory_bytes - SPLIT_LOW_BYTES));
    }
    Ok(ranges)
}

fn handoff(end_of_list: u64) -> Vec<u8> {
    const TYPE: u16 = 1;
    const VERSION: u32 = 9;
    const BOOT_MODE: u32 = 0;
    const MEMORY_BOUNDS: [u8; 32] = [0; 32];
    let head = header(TYPE, HANDOFF_BYTES);
    let fields = [VERSION.to_le_bytes(), BOOT_MODE.to_le_bytes()].concat();
    [&head[..], &fields, &MEMORY_BOUNDS, &end_of_list.to_le_bytes()].concat()
}

fn descriptor(resource: Resource, start: u64, length: u64) -> Vec<u8> {
    const TYPE: u16 = 3;
    const NO_OWNER: [u8; 16] = [0; 16];
    let kind = [(resource as u32).to_le_bytes(), ATTRIBUTES.to_le_bytes()].concat();
    let range = [start.to_le_bytes(), length.to_le_bytes()].concat();
    [&header(TYPE, RESOURCE_BYTES)[..], &NO_OWNER, &kind, &range].concat()
}

fn header(kind: u16, length: u16) -> [u8; 8] {
    let ([kind_low, kind_high], [low, high]) = (kind.to_le_bytes(), length.to_le_bytes());
    [kind_low, kind_high, low, high, 0, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of IntelTdxX64.
    const ACCEPTED: [(u64, u64); 4] =
        [(0x80_0000, 0x6000), (0x80_9000, 0x2000), (0x80_b000, 0x2000), (0x81_0000, 0x1_0000)];

    #[test]
    fn two_gib_take_eight_ranges() {
        let hob = build(0x80_9000, &ACCEPTED, 2 << 30).unwrap();
        assert_eq!(hob.len(), 440);
        assert_eq!(hob[48..56], (0x80_9000u64 + 440 + 8).to_le_bytes());
    }

    #[test]
    fn from_2816_mib_on_memory_is_split_at_two_gib() {
        let below = build(0x80_9000, &ACCEPTED, (2816 << 20) - 1).unwrap();
        let split = build(0x80_9000, &ACCEPTED, 2816 << 20).unwrap();
        assert_eq!((below.len(), split.len()), (440, 488));
        assert_eq!(split[472..480], FOUR_GIB.to_le_bytes());
        assert_eq!(split[480..], (768u64 << 20).to_le_bytes());
    }

    #[test]
    fn a_guest_smaller_than_its_firmware_is_refused() {
        let error = build(0x80_9000, &ACCEPTED, 8 << 20).unwrap_err();
        assert_eq!(error, HobError::TooLittleMemory { needed: 0x80_6000, memory_bytes: 8 << 20 });
        let error = build(0, &[(0x2000, 0x1000), (0x1000, 0x1000)], 1 << 30).unwrap_err();
        assert_eq!(error, HobError::Disordered { start: 0x1000, previous_end: 0x3000 });
    }
}
