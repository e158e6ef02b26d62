//! Resource descriptors of a DSDT's `_CRS` and `_PRS` objects (ACPI specification 6.5, section
//! 6.4).
//!
//! A template is a buffer of descriptors, closed by an end tag whose checksum is zero ("treat as
//! correct").

use super::aml::{self, Aml};

/// Small end tag with the checksum that means "none".
const END_TAG: [u8; 2] = [0x79, 0];

/// One descriptor's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Descriptor(Vec<u8>);

/// When an interrupt line is signalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// While the line is held.
    Level,
    /// When the line changes.
    Edge,
}

/// A resource template of these descriptors.
pub(super) fn template(descriptors: impl IntoIterator<Item = Descriptor>) -> Aml {
    let mut bytes: Vec<u8> = descriptors.into_iter().flat_map(|descriptor| descriptor.0).collect();
    bytes.extend(END_TAG);
    aml::buffer(&bytes)
}

/// I/O ports at a fixed place, all 16 address bits decoded.
pub(super) fn io_ports(base: u16, alignment: u8, length: u8) -> Descriptor {
    const DECODE_16: u8 = 1;
    let base = base.to_le_bytes();
    Descriptor([&[0x47, DECODE_16], &base[..], &base, &[alignment, length]].concat())
}

/// One ISA interrupt in the form without flags: rising edge, exclusive.
pub(super) fn irq(line: u8) -> Descriptor {
    Descriptor([&[0x22][..], &(1u16 << line).to_le_bytes()].concat())
}

/// One ISA interrupt: level, active low, shared.
pub(super) fn irq_level_low_shared(line: u8) -> Descriptor {
    const LEVEL_LOW_SHARED: u8 = 0x18;
    Descriptor([&[0x23][..], &(1u16 << line).to_le_bytes(), &[LEVEL_LOW_SHARED]].concat())
}

/// Consumed interrupts by their global numbers: active high, shared.
pub(super) fn interrupts(trigger: Trigger, numbers: &[u32]) -> Descriptor {
    const CONSUMER_SHARED: u8 = 0x09;
    const EDGE: u8 = 0x02;
    let flags = CONSUMER_SHARED | if trigger == Trigger::Edge { EDGE } else { 0 };
    let count = u8::try_from(numbers.len()).expect("callers list at most three interrupts");
    let length = 2 + 4 * u16::from(count);
    let numbers: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    Descriptor([&[0x89][..], &length.to_le_bytes(), &[flags, count], &numbers].concat())
}

/// Bus numbers `first` to `last` of a bridge.
pub(super) fn bus_numbers(first: u16, last: u16) -> Descriptor {
    let length = last - first + 1;
    word_space(2, 0, [0, first, last, 0, length])
}

/// I/O ports `first` to `last` that a bridge passes on.
pub(super) fn io_window(first: u16, last: u16) -> Descriptor {
    const ENTIRE_RANGE: u8 = 3;
    let length = last - first + 1;
    word_space(1, ENTIRE_RANGE, [0, first, last, 0, length])
}

/// How a memory window may be cached; both are writable.
#[derive(Debug, Clone, Copy)]
pub(super) enum Caching {
    /// Registers.
    NonCacheable = 0x01,
    /// Memory.
    Cacheable = 0x03,
}

/// Memory `first` to `last`, below 4 GiB, that a bridge passes on.
pub(super) fn memory_window_32(caching: Caching, first: u32, last: u32) -> Descriptor {
    let length = last - first + 1;
    let fields: Vec<u8> =
        [0, first, last, 0, length].iter().flat_map(|field| field.to_le_bytes()).collect();
    Descriptor([&[0x87, 0x17, 0, 0, FIXED, caching as u8][..], &fields].concat())
}

/// `length` bytes of cacheable memory from `first` that a bridge passes on.
pub(super) fn memory_window_64(first: u64, length: u64) -> Descriptor {
    let fields = [0, first, first + length - 1, 0, length];
    let fields: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
    Descriptor([&[0x8a, 0x2b, 0, 0, FIXED, Caching::Cacheable as u8][..], &fields].concat())
}

/// General flags: both ends of the range are fixed, positive decode, producer.
const FIXED: u8 = 0x0c;

fn word_space(kind: u8, specific: u8, fields: [u16; 5]) -> Descriptor {
    let fields: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
    Descriptor([&[0x88, 0x0d, 0, kind, FIXED, specific][..], &fields].concat())
}
