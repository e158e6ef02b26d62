//! A small builder of ACPI Machine Language: terms in, byte code out.
//!
//! It encodes integers, names and package lengths in the shortest form, as QEMU does; a byte more
//! or less anywhere would be another RTMR0. Opcodes are those of the ACPI specification 6.5,
//! section 20.2. It knows only the terms that a q35 machine's DSDT consists of, and never reads
//! AML.

/// Longest segment of a name; shorter ones are padded with underscores.
const NAME_SEGMENT: usize = 4;

/// A piece of AML: a term, a term list or a data object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Aml(Vec<u8>);

impl Aml {
    /// The byte code.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Terms one after the other.
pub(crate) fn list(terms: impl IntoIterator<Item = Aml>) -> Aml {
    Aml(terms.into_iter().flat_map(|term| term.0).collect())
}

// Data objects

/// An integer in its shortest form.
pub(crate) fn int(value: u64) -> Aml {
    let bytes = value.to_le_bytes();
    let (prefix, length) = match value {
        0 | 1 => return Aml(vec![bytes[0]]),
        0x2..=0xff => (0x0a, 1),
        0x100..=0xffff => (0x0b, 2),
        0x1_0000..=0xffff_ffff => (0x0c, 4),
        _ => (0x0e, 8),
    };
    Aml([&[prefix], &bytes[..length]].concat())
}

/// A NUL-terminated string.
pub(crate) fn string(text: &str) -> Aml {
    Aml([&[0x0d], text.as_bytes(), &[0]].concat())
}

/// A compressed EISA id such as `PNP0A08`: three letters and four hexadecimal digits.
pub(crate) fn eisa_id(id: &str) -> Aml {
    let letter = |at: usize| u32::from(id.as_bytes()[at] - b'@') & 0x1f;
    let number = u32::from_str_radix(&id[3..], 16).expect("callers pass four hexadecimal digits");
    let packed = letter(0) << 26 | letter(1) << 21 | letter(2) << 16 | number;
    Aml([&[0x0c][..], &packed.to_be_bytes()].concat())
}

/// A buffer with exactly these bytes.
pub(crate) fn buffer(bytes: &[u8]) -> Aml {
    packaged(&[0x11], list([int(bytes.len() as u64), Aml(bytes.to_vec())]))
}

/// A package of `count` elements, of which the given ones are initialised.
pub(crate) fn package(count: u8, elements: impl IntoIterator<Item = Aml>) -> Aml {
    packaged(&[0x12], list([Aml(vec![count]), list(elements)]))
}

// Names and arguments

/// A reference to a named object: segments separated by dots, `\` in front for an absolute path.
pub(crate) fn path(text: &str) -> Aml {
    let (root, relative) = match text.strip_prefix('\\') {
        Some(rest) => (&b"\\"[..], rest),
        None => (&b""[..], text),
    };
    let segments: Vec<&str> = relative.split('.').filter(|segment| !segment.is_empty()).collect();
    let mut bytes = root.to_vec();
    match segments.len() {
        0 => bytes.push(0),
        1 => {}
        2 => bytes.push(0x2e),
        count => bytes
            .extend([0x2f, u8::try_from(count).expect("paths here have at most five segments")]),
    }
    segments.iter().for_each(|segment| bytes.extend(name_segment(segment)));
    Aml(bytes)
}

/// A method's argument, 0 to 6.
pub(crate) fn arg(index: u8) -> Aml {
    Aml(vec![0x68 + index])
}

/// A method's local variable, 0 to 7.
pub(crate) fn local(index: u8) -> Aml {
    Aml(vec![0x60 + index])
}

/// The debug object.
pub(crate) fn debug() -> Aml {
    Aml(vec![0x5b, 0x31])
}

/// Invocation of a method.
pub(crate) fn call(method: &str, arguments: impl IntoIterator<Item = Aml>) -> Aml {
    list([path(method), list(arguments)])
}

// Objects in a name space

/// Gives a data object a name.
pub(crate) fn name(at: &str, value: Aml) -> Aml {
    opcode(&[0x08], [path(at), value])
}

/// Opens a scope that exists.
pub(crate) fn scope(at: &str, terms: impl IntoIterator<Item = Aml>) -> Aml {
    packaged(&[0x10], list([path(at), list(terms)]))
}

/// Declares a device.
pub(crate) fn device(at: &str, terms: impl IntoIterator<Item = Aml>) -> Aml {
    packaged(&[0x5b, 0x82], list([path(at), list(terms)]))
}

/// Declares a processor without a register block (ACPI 6.3, section 20.2.5.2; deprecated, still
/// what QEMU writes).
pub(crate) fn processor(at: &str, id: u8, terms: impl IntoIterator<Item = Aml>) -> Aml {
    const NO_REGISTER_BLOCK: [u8; 5] = [0; 5];
    let head = Aml([&[id][..], &NO_REGISTER_BLOCK].concat());
    packaged(&[0x5b, 0x83], list([path(at), head, list(terms)]))
}

/// Whether several threads may be inside a method at once.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Entry {
    /// Any number.
    Concurrent = 0,
    /// One.
    Serialized = 8,
}

/// Declares a method.
pub(crate) fn method(
    at: &str,
    arguments: u8,
    entry: Entry,
    terms: impl IntoIterator<Item = Aml>,
) -> Aml {
    let flags = Aml(vec![arguments | entry as u8]);
    packaged(&[0x14], list([path(at), flags, list(terms)]))
}

/// Declares a mutex of synchronisation level 0.
pub(crate) fn mutex(at: &str) -> Aml {
    opcode(&[0x5b, 0x01], [path(at), Aml(vec![0])])
}

/// The address spaces that a DSDT's regions lie in.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Space {
    /// I/O ports.
    SystemIo = 1,
    /// A PCI function's configuration space.
    PciConfig = 2,
}

/// Declares an operation region.
pub(crate) fn operation_region(at: &str, space: Space, offset: u64, length: u64) -> Aml {
    opcode(&[0x5b, 0x80], [path(at), Aml(vec![space as u8]), int(offset), int(length)])
}

/// Width of a field's accesses.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Access {
    /// One byte.
    Byte = 1,
    /// Four bytes.
    Dword = 3,
}

/// What a write does to the bits around a field unit.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Update {
    /// Reads them first and writes them back.
    Preserve = 0x00,
    /// Writes zeros.
    WriteAsZeros = 0x40,
}

/// One unit of a field.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unit {
    /// Named bits.
    Named(&'static str, u32),
    /// Skipped bits.
    Skip(u32),
}

/// Divides a region into named units; no lock.
pub(crate) fn field(region: &str, access: Access, update: Update, units: &[Unit]) -> Aml {
    let flags = Aml(vec![access as u8 | update as u8]);
    let units = units.iter().map(|unit| match *unit {
        Unit::Named(segment, bits) => {
            Aml([&name_segment(segment)[..], &package_length(bits as usize)].concat())
        }
        Unit::Skip(bits) => Aml([&[0][..], &package_length(bits as usize)].concat()),
    });
    packaged(&[0x5b, 0x81], list([path(region), flags, list(units)]))
}

/// Names four bytes of a buffer.
pub(crate) fn create_dword_field(source: Aml, offset: u64, segment: &str) -> Aml {
    opcode(&[0x8a], [source, int(offset), path(segment)])
}

// Statements

/// Copies `source` to `target`.
pub(crate) fn store(source: Aml, target: Aml) -> Aml {
    opcode(&[0x70], [source, target])
}

/// Adds one in place.
pub(crate) fn increment(target: Aml) -> Aml {
    opcode(&[0x75], [target])
}

/// Waits for a mutex without time-out.
pub(crate) fn acquire(at: &str) -> Aml {
    opcode(&[0x5b, 0x23], [path(at), Aml(vec![0xff, 0xff])])
}

/// Gives a mutex back.
pub(crate) fn release(at: &str) -> Aml {
    opcode(&[0x5b, 0x27], [path(at)])
}

/// Notifies the operating system about an object.
pub(crate) fn notify(at: &str, value: Aml) -> Aml {
    opcode(&[0x86], [path(at), value])
}

/// Leaves a method with a value.
pub(crate) fn ret(value: Aml) -> Aml {
    opcode(&[0xa4], [value])
}

/// Leaves the innermost loop.
pub(crate) fn break_loop() -> Aml {
    Aml(vec![0xa5])
}

/// Runs `terms` if `predicate` is not zero.
pub(crate) fn when(predicate: Aml, terms: impl IntoIterator<Item = Aml>) -> Aml {
    packaged(&[0xa0], list([predicate, list(terms)]))
}

/// Runs `terms` if the [`when`] right before did not.
pub(crate) fn otherwise(terms: impl IntoIterator<Item = Aml>) -> Aml {
    packaged(&[0xa1], list(terms))
}

/// Repeats `terms` as long as `predicate` is not zero.
pub(crate) fn repeat_while(predicate: Aml, terms: impl IntoIterator<Item = Aml>) -> Aml {
    packaged(&[0xa2], list([predicate, list(terms)]))
}

// Expressions

/// Where an expression also stores its result.
fn nowhere() -> Aml {
    Aml(vec![0])
}

/// `a & b`, stored to `target`.
pub(crate) fn and_into(a: Aml, b: Aml, target: Aml) -> Aml {
    opcode(&[0x7b], [a, b, target])
}

/// `a & b`.
pub(crate) fn and(a: Aml, b: Aml) -> Aml {
    and_into(a, b, nowhere())
}

/// `a | b`, stored to `target`.
pub(crate) fn or_into(a: Aml, b: Aml, target: Aml) -> Aml {
    opcode(&[0x7d], [a, b, target])
}

/// `a | b`.
pub(crate) fn or(a: Aml, b: Aml) -> Aml {
    or_into(a, b, nowhere())
}

/// `a << b`.
pub(crate) fn shift_left(a: Aml, b: Aml) -> Aml {
    opcode(&[0x79], [a, b, nowhere()])
}

/// `a - b`, stored to `target`.
pub(crate) fn subtract_into(a: Aml, b: Aml, target: Aml) -> Aml {
    opcode(&[0x74], [a, b, target])
}

/// Hexadecimal text of `source`, stored to `target`.
pub(crate) fn to_hex_string(source: Aml, target: Aml) -> Aml {
    opcode(&[0x98], [source, target])
}

/// `source` as a buffer, stored to `target`.
pub(crate) fn to_buffer(source: Aml, target: Aml) -> Aml {
    opcode(&[0x96], [source, target])
}

/// A reference to an element.
pub(crate) fn index(source: Aml, at: Aml) -> Aml {
    opcode(&[0x88], [source, at, nowhere()])
}

/// What a reference points to.
pub(crate) fn deref(reference: Aml) -> Aml {
    opcode(&[0x83], [reference])
}

/// Number of elements or bytes.
pub(crate) fn size_of(source: Aml) -> Aml {
    opcode(&[0x87], [source])
}

/// `a == b`.
pub(crate) fn equal(a: Aml, b: Aml) -> Aml {
    opcode(&[0x93], [a, b])
}

/// `a < b`.
pub(crate) fn less(a: Aml, b: Aml) -> Aml {
    opcode(&[0x95], [a, b])
}

/// Both are not zero.
pub(crate) fn logical_and(a: Aml, b: Aml) -> Aml {
    opcode(&[0x90], [a, b])
}

/// One of them is not zero.
pub(crate) fn logical_or(a: Aml, b: Aml) -> Aml {
    opcode(&[0x91], [a, b])
}

/// The opposite truth value.
pub(crate) fn not(a: Aml) -> Aml {
    opcode(&[0x92], [a])
}

// Encoding

fn opcode(code: &[u8], operands: impl IntoIterator<Item = Aml>) -> Aml {
    list([Aml(code.to_vec()), list(operands)])
}

/// A term whose opcode is followed by the length of everything behind the opcode.
fn packaged(code: &[u8], content: Aml) -> Aml {
    // The length field counts itself; one byte holds up to 63, further ones 4 + 8n bits.
    let own = match content.0.len() {
        0..=62 => 1,
        63..=4093 => 2,
        4094..=1_048_572 => 3,
        _ => 4,
    };
    Aml([code, &package_length(content.0.len() + own), &content.0].concat())
}

/// PkgLength (section 20.2.4) of a value that already counts the field itself, or of a field's
/// bits.
fn package_length(value: usize) -> Vec<u8> {
    let followers: u8 = match value {
        0..=0x3f => return vec![value as u8],
        0x40..=0xfff => 1,
        0x1000..=0xf_ffff => 2,
        _ => 3,
    };
    let rest = (value >> 4).to_le_bytes();
    [&[followers << 6 | (value & 0xf) as u8], &rest[..usize::from(followers)]].concat()
}

fn name_segment(text: &str) -> [u8; NAME_SEGMENT] {
    let mut segment = [b'_'; NAME_SEGMENT];
    segment[..text.len()].copy_from_slice(text.as_bytes());
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_take_their_shortest_form() {
        let encoded = |value| int(value).into_bytes();
        assert_eq!(encoded(0), [0]);
        assert_eq!(encoded(1), [1]);
        assert_eq!(encoded(0xff), [0x0a, 0xff]);
        assert_eq!(encoded(0x100), [0x0b, 0, 1]);
        assert_eq!(encoded(0xffff_ffff), [0x0c, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(encoded(1 << 32), [0x0e, 0, 0, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn names_are_padded_and_prefixed() {
        assert_eq!(path("\\").into_bytes(), b"\\\0");
        assert_eq!(path("DBG").into_bytes(), b"DBG_");
        assert_eq!(path("\\_GPE._E02").into_bytes(), b"\\\x2e_GPE_E02");
        assert_eq!(path("\\_SB.PCI0.PRES.CSEL").into_bytes(), b"\\\x2f\x04_SB_PCI0PRESCSEL");
    }

    #[test]
    fn package_lengths_change_width_at_their_limits() {
        let lengths =
            |content: usize| packaged(&[], Aml(vec![0; content])).into_bytes()[..3].to_vec();
        assert_eq!(lengths(62), [0x3f, 0, 0]);
        assert_eq!(lengths(63), [0x41, 0x04, 0]);
        assert_eq!(lengths(4093), [0x4f, 0xff, 0]);
        assert_eq!(lengths(4094), [0x81, 0x00, 0x01]);
        assert_eq!(lengths(1_048_572), [0x8f, 0xff, 0xff]);
        assert_eq!(lengths(1_048_573), [0xc1, 0x00, 0x00]);
    }

    #[test]
    fn eisa_ids_are_five_bits_a_letter() {
        assert_eq!(eisa_id("PNP0A08").into_bytes(), [0x0c, 0x41, 0xd0, 0x0a, 0x08]);
    }
}
