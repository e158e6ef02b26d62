//! Reads which parts of a TDX firmware image are loaded where, from the metadata that the image
//! carries.
//!
//! Source: Intel TDX Virtual Firmware Design Guide, section 11, and the GUIDed table at the end of
//! an OVMF image (edk2, `OvmfPkg/ResetVector`). The image may be anybody's: every offset is
//! checked, whatever has no defined meaning is refused, and no size in it makes this code allocate
//! or hash more than the budgets say. It never decides whether a firmware is trustworthy.

use protocol::reader::{ReadError, Reader};

/// Pages of a TD.
pub const PAGE_BYTES: u64 = 4096;
/// Largest image: QEMU maps firmware below 4 GiB, OVMF builds have 2 to 16 MiB.
pub const MAX_FIRMWARE_BYTES: usize = 64 << 20;
/// Most sections; OVMF has 6 or 7.
pub const MAX_SECTIONS: u32 = 32;
/// Most memory that sections may cover together, which bounds the work for MRTD; OVMF has about 4
/// MiB.
pub const MAX_SECTION_BYTES: u64 = 256 << 20;

/// Bytes between the GUIDed table's end and the image's end: the reset vector's.
const TABLE_END: usize = 32;
/// Length field and GUID of a table entry.
const ENTRY_TRAILER: usize = 18;
const FOOTER_GUID: [u8; 16] =
    guid(0x96b5_82de, 0x1fb2, 0x45f7, [0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d]);
const OFFSET_GUID: [u8; 16] =
    guid(0xe47a_6535, 0x984a, 0x4798, [0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf, 0x8e, 0xc2]);
const SIGNATURE: &[u8; 4] = b"TDVF";
const VERSION: u32 = 1;
const DESCRIPTOR_BYTES: u32 = 16;
const SECTION_BYTES: u32 = 32;
const ATTRIBUTE_EXTEND: u32 = 1 << 0;
const ATTRIBUTE_AUG: u32 = 1 << 1;

/// What a section is for (design guide, table 11-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionKind {
    /// Boot firmware volume: code.
    BootFirmware,
    /// Configuration firmware volume: variables.
    Configuration,
    /// Where the VMM writes the TD HOB.
    TdHob,
    /// Memory for the first phase: stack, heap, mailbox.
    TemporaryMemory,
    /// Memory that stays.
    PermanentMemory,
}

/// One section, ranges checked against the image and the page size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section<'a> {
    /// Its purpose.
    pub kind: SectionKind,
    /// Its bytes in the image; empty for memory that starts as zeros.
    pub data: &'a [u8],
    /// Guest-physical start, page-aligned.
    pub address: u64,
    /// Length in memory, page-aligned, not zero.
    pub length: u64,
    /// Its content is measured into MRTD.
    pub extended: bool,
    /// Its pages are added by the guest later, so they are no part of MRTD.
    pub added_later: bool,
}

/// The sections of an image, in the order of its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tdvf<'a> {
    /// At least one boot firmware volume, exactly one configuration volume and one TD HOB.
    pub sections: Vec<Section<'a>>,
}

/// Why an image is not a TDX firmware.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TdvfError {
    /// larger than the budget
    #[error("firmware: {found} bytes, at most {MAX_FIRMWARE_BYTES} are accepted")]
    TooLarge {
        /// Bytes present.
        found: usize,
    },
    /// no GUIDed table, or a broken one
    #[error("firmware: {0}; is this an OVMF image with TDX support (IntelTdxX64 or OvmfPkgX64)?")]
    Table(&'static str),
    /// the metadata ends early
    #[error("firmware metadata: {0}")]
    Read(#[from] ReadError),
    /// the descriptor is not of this format
    #[error("firmware metadata: {field} is {found:#x}, expected {expected}")]
    Descriptor {
        /// Which field.
        field: &'static str,
        /// Its value.
        found: u64,
        /// What is legal.
        expected: &'static str,
    },
    /// a section breaks a rule
    #[error("firmware metadata: section {index}: {what}")]
    Section {
        /// Position, from 0.
        index: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// a kind of section occurs too rarely or too often
    #[error("firmware metadata: {found} sections of kind {kind:?}, expected {expected}")]
    Count {
        /// The kind.
        kind: SectionKind,
        /// How often it occurs.
        found: usize,
        /// What is legal.
        expected: &'static str,
    },
}

/// A GUID in its mixed-endian binary form.
pub(crate) const fn guid(a: u32, b: u16, c: u16, d: [u8; 8]) -> [u8; 16] {
    let (a, b, c) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
    [a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]]
}

impl<'a> Tdvf<'a> {
    /// Reads an image's metadata.
    pub fn parse(firmware: &'a [u8]) -> Result<Self, TdvfError> {
        if firmware.len() > MAX_FIRMWARE_BYTES {
            return Err(TdvfError::TooLarge { found: firmware.len() });
        }
        let mut reader = Reader::new(descriptor(firmware)?);
        let count = section_count(&mut reader)?;
        let mut sections = Vec::new();
        for index in 0..count {
            sections.push(section(&mut reader, firmware, index)?);
        }
        refuse_overlaps(&sections)?;
        let tdvf = Self { sections };
        tdvf.require(SectionKind::BootFirmware, "at least 1", |count| count >= 1)?;
        tdvf.require(SectionKind::Configuration, "1", |count| count == 1)?;
        tdvf.require(SectionKind::TdHob, "1", |count| count == 1)?;
        Ok(tdvf)
    }

    /// The only section of a kind that [`Tdvf::parse`] found exactly once.
    pub(crate) fn only(&self, kind: SectionKind) -> &Section<'a> {
        let mut of_kind = self.sections.iter().filter(|section| section.kind == kind);
        of_kind.next().expect("the parser refuses an image without it")
    }

    fn require(
        &self,
        kind: SectionKind,
        expected: &'static str,
        legal: fn(usize) -> bool,
    ) -> Result<(), TdvfError> {
        match self.sections.iter().filter(|section| section.kind == kind).count() {
            found if legal(found) => Ok(()),
            found => Err(TdvfError::Count { kind, found, expected }),
        }
    }
}

/// The image from the descriptor to its end, found through the GUIDed table.
fn descriptor(firmware: &[u8]) -> Result<&[u8], TdvfError> {
    let table = guided_table(firmware)?;
    let mut found = None;
    let mut rest = table;
    while !rest.is_empty() {
        let entry = last_entry(rest)?;
        if *entry.id == OFFSET_GUID && found.replace(entry.data).is_some() {
            return Err(TdvfError::Table("two metadata offsets in its GUIDed table"));
        }
        rest = entry.before;
    }
    let data = found.ok_or(TdvfError::Table("no TDX metadata offset in its GUIDed table"))?;
    let offset = <[u8; 4]>::try_from(data)
        .map_err(|_| TdvfError::Table("a metadata offset of another length than 4"))?;
    let start = firmware.len().checked_sub(u32::from_le_bytes(offset) as usize);
    start
        .map(|start| &firmware[start..])
        .ok_or(TdvfError::Table("a metadata offset before the image's start"))
}

/// All entries but the footer, which states the length of the whole.
fn guided_table(firmware: &[u8]) -> Result<&[u8], TdvfError> {
    let no_table = TdvfError::Table("no GUIDed table at its end");
    let end = firmware.len().checked_sub(TABLE_END).ok_or(no_table.clone())?;
    let (before, trailer) =
        firmware[..end].split_last_chunk::<ENTRY_TRAILER>().ok_or(no_table.clone())?;
    if trailer[2..] != FOOTER_GUID {
        return Err(no_table);
    }
    let entries =
        usize::from(u16::from_le_bytes([trailer[0], trailer[1]])).checked_sub(ENTRY_TRAILER);
    let start = entries.and_then(|entries| before.len().checked_sub(entries));
    start
        .map(|start| &before[start..])
        .ok_or(TdvfError::Table("a GUIDed table longer than the image"))
}

/// An entry of the GUIDed table, which is read from its end.
struct TableEntry<'a> {
    /// The table in front of this entry.
    before: &'a [u8],
    data: &'a [u8],
    id: &'a [u8],
}

/// The entry at the end of `table`.
fn last_entry(table: &[u8]) -> Result<TableEntry<'_>, TdvfError> {
    let broken = TdvfError::Table("a broken entry in its GUIDed table");
    let (content, trailer) = table.split_last_chunk::<ENTRY_TRAILER>().ok_or(broken.clone())?;
    let length = usize::from(u16::from_le_bytes([trailer[0], trailer[1]]));
    let data_length = length.checked_sub(ENTRY_TRAILER).ok_or(broken.clone())?;
    let start = content.len().checked_sub(data_length).ok_or(broken)?;
    let (before, data) = content.split_at(start);
    Ok(TableEntry { before, data, id: &trailer[2..] })
}

fn section_count(reader: &mut Reader<'_>) -> Result<usize, TdvfError> {
    let wrong = |field, found: u32, expected| TdvfError::Descriptor {
        field,
        found: found.into(),
        expected,
    };
    if reader.take("signature", 4)? != SIGNATURE {
        return Err(TdvfError::Table("no TDVF signature where its metadata offset points"));
    }
    let length = reader.u32("length")?;
    let version = reader.u32("version")?;
    let count = reader.u32("section count")?;
    if version != VERSION {
        return Err(wrong("version", version, "1"));
    }
    if count == 0 || count > MAX_SECTIONS {
        return Err(wrong("section count", count, "1 to 32"));
    }
    if length != DESCRIPTOR_BYTES + SECTION_BYTES * count {
        return Err(wrong("length", length, "16 and 32 for each section"));
    }
    Ok(count as usize)
}

fn section<'a>(
    reader: &mut Reader<'_>,
    firmware: &'a [u8],
    index: usize,
) -> Result<Section<'a>, TdvfError> {
    let wrong = |what| TdvfError::Section { index, what };
    let data_offset = reader.u32("data offset")? as usize;
    let data_length = reader.u32("data length")? as usize;
    let address = reader.u64("memory address")?;
    let length = reader.u64("memory length")?;
    let kind = kind(reader.u32("type")?).ok_or(wrong("of unknown type, known are 0 to 4"))?;
    let attributes = reader.u32("attributes")?;

    if attributes & !(ATTRIBUTE_EXTEND | ATTRIBUTE_AUG) != 0 {
        return Err(wrong("unknown attributes, known are bits 0 and 1"));
    }
    let (extended, added_later) =
        (attributes & ATTRIBUTE_EXTEND != 0, attributes & ATTRIBUTE_AUG != 0);
    if !address.is_multiple_of(PAGE_BYTES) || !length.is_multiple_of(PAGE_BYTES) || length == 0 {
        return Err(wrong("its memory is not made of whole pages"));
    }
    if length > MAX_SECTION_BYTES || address.checked_add(length).is_none() {
        return Err(wrong("more memory than a firmware may have"));
    }
    let data = data_offset.checked_add(data_length).and_then(|end| firmware.get(data_offset..end));
    let data = data.ok_or(wrong("its data lies outside the image"))?;
    match kind {
        SectionKind::BootFirmware | SectionKind::Configuration if data.len() as u64 != length => {
            return Err(wrong("a firmware volume whose data does not fill its memory"));
        }
        SectionKind::TdHob | SectionKind::TemporaryMemory | SectionKind::PermanentMemory
            if !data.is_empty() =>
        {
            return Err(wrong("memory that starts with data"));
        }
        _ => {}
    }
    if extended && (data.is_empty() || added_later) {
        return Err(wrong("measured content without data, or added later"));
    }
    Ok(Section { kind, data, address, length, extended, added_later })
}

fn kind(value: u32) -> Option<SectionKind> {
    match value {
        0 => Some(SectionKind::BootFirmware),
        1 => Some(SectionKind::Configuration),
        2 => Some(SectionKind::TdHob),
        3 => Some(SectionKind::TemporaryMemory),
        4 => Some(SectionKind::PermanentMemory),
        _ => None,
    }
}

fn refuse_overlaps(sections: &[Section<'_>]) -> Result<(), TdvfError> {
    let total = sections.iter().fold(0u64, |sum, section| sum.saturating_add(section.length));
    if total > MAX_SECTION_BYTES {
        let expected = "at most 256 MiB";
        return Err(TdvfError::Descriptor {
            field: "memory of all sections",
            found: total,
            expected,
        });
    }
    for (index, section) in sections.iter().enumerate() {
        let overlaps = |other: &Section<'_>| {
            section.address < other.address + other.length
                && other.address < section.address + section.length
        };
        if sections[..index].iter().any(overlaps) {
            return Err(TdvfError::Section {
                index,
                what: "its memory overlaps an earlier section's",
            });
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A section's numbers as the metadata has them.
    pub(crate) type Numbers = (u32, u32, u64, u64, u32, u32);

    /// Two volumes of one page, and IntelTdxX64's memory sections.
    pub(crate) const SECTIONS: [Numbers; 6] = [
        (0x1000, 0x1000, 0xffff_f000, 0x1000, 0, 1),
        (0, 0x1000, 0xffc0_0000, 0x1000, 1, 0),
        (0, 0, 0x81_0000, 0x1_0000, 3, 0),
        (0, 0, 0x80_b000, 0x2000, 3, 0),
        (0, 0, 0x80_9000, 0x2000, 2, 0),
        (0, 0, 0x80_0000, 0x6000, 3, 0),
    ];

    /// A firmware image of two volumes, metadata and GUIDed table.
    pub(crate) fn firmware(sections: &[Numbers]) -> Vec<u8> {
        let mut descriptor = SIGNATURE.to_vec();
        let length = DESCRIPTOR_BYTES + SECTION_BYTES * sections.len() as u32;
        for field in [length, VERSION, sections.len() as u32] {
            descriptor.extend(field.to_le_bytes());
        }
        for (offset, size, address, length, kind, attributes) in sections {
            descriptor.extend([offset.to_le_bytes(), size.to_le_bytes()].concat());
            descriptor.extend([address.to_le_bytes(), length.to_le_bytes()].concat());
            descriptor.extend([kind.to_le_bytes(), attributes.to_le_bytes()].concat());
        }
        let behind = 22 + ENTRY_TRAILER + TABLE_END;
        let start = 0x2000 - behind - descriptor.len();
        let mut image: Vec<u8> = (0..start).map(|at| (at / 7) as u8).collect();
        image.extend(&descriptor);
        image.extend(((descriptor.len() + behind) as u32).to_le_bytes());
        image.extend(22u16.to_le_bytes());
        image.extend(OFFSET_GUID);
        image.extend(40u16.to_le_bytes());
        image.extend(FOOTER_GUID);
        image.resize(0x2000, 0x90);
        image
    }

    #[test]
    fn the_sections_of_an_image_are_found_through_its_table() {
        let image = firmware(&SECTIONS);
        let tdvf = Tdvf::parse(&image).unwrap();
        assert_eq!(tdvf.sections.len(), 6);
        assert_eq!(tdvf.only(SectionKind::Configuration).data, &image[..0x1000]);
        assert_eq!(tdvf.only(SectionKind::TdHob).address, 0x80_9000);
    }

    #[test]
    fn each_broken_rule_of_a_section_is_named() {
        let cases: [(usize, Numbers, &str); 8] = [
            (0, (0x1001, 0x1000, 0xffff_f000, 0x1000, 0, 1), "its data lies outside the image"),
            (
                0,
                (0x1000, 0x800, 0xffff_f000, 0x1000, 0, 1),
                "a firmware volume whose data does not fill its memory",
            ),
            (2, (0, 0, 0x81_0800, 0x1_0000, 3, 0), "its memory is not made of whole pages"),
            (2, (0, 0, 0x81_0000, 0, 3, 0), "its memory is not made of whole pages"),
            (2, (0, 0, u64::MAX - 0xfff, 0x1000, 3, 0), "more memory than a firmware may have"),
            (2, (0, 0, 0x81_0000, 0x1_0000, 5, 0), "of unknown type, known are 0 to 4"),
            (2, (0, 0, 0x81_0000, 0x1_0000, 3, 4), "unknown attributes, known are bits 0 and 1"),
            (3, (0, 0, 0x81_0000, 0x1000, 3, 0), "its memory overlaps an earlier section's"),
        ];
        for (index, numbers, what) in cases {
            let mut sections = SECTIONS;
            sections[index] = numbers;
            assert_eq!(Tdvf::parse(&firmware(&sections)), Err(TdvfError::Section { index, what }));
        }
    }

    #[test]
    fn an_image_without_hob_or_table_is_refused() {
        let without_hob: Vec<_> = SECTIONS.into_iter().filter(|section| section.4 != 2).collect();
        let error = Tdvf::parse(&firmware(&without_hob)).unwrap_err();
        assert_eq!(error, TdvfError::Count { kind: SectionKind::TdHob, found: 0, expected: "1" });
        assert!(matches!(
            Tdvf::parse(&[0; 4096]),
            Err(TdvfError::Table("no GUIDed table at its end"))
        ));
        assert!(matches!(Tdvf::parse(&[]), Err(TdvfError::Table(_))));
    }

    proptest! {
        #[test]
        fn no_damaged_image_panics(at in 0x1e00usize..0x2000, byte: u8, cut in 0usize..0x2000) {
            let mut image = firmware(&SECTIONS);
            image[at] = byte;
            let _ = Tdvf::parse(&image);
            let _ = Tdvf::parse(&image[cut..]);
        }
    }
}
