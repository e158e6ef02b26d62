//! The TDVF metadata: how a TDX firmware tells a VMM which of its parts go where and are measured.
//!
//! Sources: Intel TDX Virtual Firmware Design Guide rev. 1.01, section 11; edk2
//! `OvmfPkg/ResetVector` (the table of GUIDs that ends at 32 bytes before the end of the file). The
//! firmware is the host's own file, which may still be any file: every offset is checked.

/// Largest firmware; OVMF has 4 MiB.
pub const MAX_FIRMWARE_BYTES: usize = 64 << 20;
/// Largest section: bounds the work that a broken descriptor can cause.
pub const MAX_SECTION_BYTES: u64 = 64 << 20;
/// Most sections; OVMF has 6.
pub const MAX_SECTIONS: u32 = 64;
/// Bytes of a page of a TD.
pub const PAGE_BYTES: u64 = 4096;

/// End of the GUID table, counted from the end of the file.
const TABLE_END: usize = 32;
/// `96b582de-1fb2-45f7-baea-a366c55a082d`, the table's footer, as stored.
const FOOTER_GUID: [u8; 16] = [
    0xde, 0x82, 0xb5, 0x96, 0xb2, 0x1f, 0xf7, 0x45, 0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d,
];
/// `e47a6535-984a-4798-865e-4685a7bf8ec2`, the entry with the metadata's offset, as stored.
const METADATA_GUID: [u8; 16] = [
    0x35, 0x65, 0x7a, 0xe4, 0x4a, 0x98, 0x98, 0x47, 0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf, 0x8e, 0xc2,
];
/// Length and GUID behind an entry's data.
const ENTRY_TRAILER_BYTES: usize = 18;
const DESCRIPTOR_BYTES: usize = 16;
const SECTION_BYTES: usize = 32;
const METADATA_VERSION: u32 = 1;

/// What a section is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectionKind {
    /// Boot firmware volume: code.
    Code,
    /// Configuration firmware volume: variables.
    Configuration,
    /// Where the VMM puts its hand-off blocks.
    TdHob,
    /// Accepted memory for stacks, heaps and page tables.
    TemporaryMemory,
}

/// One section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// What for.
    pub kind: SectionKind,
    /// Where its bytes start in the file.
    pub data_offset: usize,
    /// How many there are; the rest of its memory is zero.
    pub raw_bytes: usize,
    /// Guest-physical address, a multiple of a page.
    pub address: u64,
    /// Bytes of memory, a multiple of a page.
    pub memory_bytes: u64,
    /// Contents are measured into MRTD (`MR.EXTEND`).
    pub extend: bool,
    /// Pages are added after the launch, so not at all measured.
    pub page_aug: bool,
}

impl Section {
    /// Its bytes in the file; in range, since [`sections`] checked it.
    pub fn data<'a>(&self, firmware: &'a [u8]) -> &'a [u8] {
        &firmware[self.data_offset..self.data_offset + self.raw_bytes]
    }
}

/// Why a file is no TDX firmware.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TdvfError {
    /// larger than any firmware
    #[error("firmware: {0} bytes, at most {MAX_FIRMWARE_BYTES} are accepted")]
    TooLarge(usize),
    /// no table of GUIDs, or none that points to TDX metadata
    #[error("firmware: {0}: is it built for TDX (IntelTdxX64 or a unified OVMF)?")]
    NoMetadata(&'static str),
    /// metadata of another version or size
    #[error(
        "firmware: metadata version {version} with {count} sections, expected version 1 and 1 to {MAX_SECTIONS}"
    )]
    Metadata {
        /// Its version.
        version: u32,
        /// Its number of sections.
        count: u32,
    },
    /// a section that cannot be
    #[error("firmware: section {index}: {what}")]
    Section {
        /// Position, from 0.
        index: u32,
        /// What is wrong.
        what: &'static str,
    },
    /// no section, or more than one, with the variables
    #[error("firmware: {0} configuration volumes, expected 1")]
    ConfigurationVolumes(usize),
}

/// All sections, in the file's order, which is the order of measurement.
pub fn sections(firmware: &[u8]) -> Result<Vec<Section>, TdvfError> {
    if firmware.len() > MAX_FIRMWARE_BYTES {
        return Err(TdvfError::TooLarge(firmware.len()));
    }
    let descriptor = descriptor(firmware)?;
    let (version, count) = (u32_at(descriptor, 8), u32_at(descriptor, 12));
    let (Some(version), Some(count)) = (version, count) else {
        return Err(TdvfError::NoMetadata("the descriptor is cut off"));
    };
    if version != METADATA_VERSION || count == 0 || count > MAX_SECTIONS {
        return Err(TdvfError::Metadata { version, count });
    }
    (0..count).map(|index| section(firmware, descriptor, index)).collect()
}

/// The variables, whose digest is an event of RTMR0.
pub fn configuration_volume<'a>(
    firmware: &'a [u8],
    sections: &[Section],
) -> Result<&'a [u8], TdvfError> {
    let volumes: Vec<_> =
        sections.iter().filter(|section| section.kind == SectionKind::Configuration).collect();
    match volumes[..] {
        [volume] => Ok(volume.data(firmware)),
        _ => Err(TdvfError::ConfigurationVolumes(volumes.len())),
    }
}

/// The bytes from the descriptor's signature to the end of the file.
fn descriptor(firmware: &[u8]) -> Result<&[u8], TdvfError> {
    let table_end =
        firmware.len().checked_sub(TABLE_END).ok_or(TdvfError::NoMetadata("too short"))?;
    let entry = metadata_entry(&firmware[..table_end])?;
    let from_end = entry.len().checked_sub(4).and_then(|at| u32_at(entry, at));
    let start = from_end.and_then(|offset| firmware.len().checked_sub(offset as usize));
    let descriptor = start.map(|start| &firmware[start..]).unwrap_or_default();
    match descriptor.starts_with(b"TDVF") {
        true => Ok(descriptor),
        false => Err(TdvfError::NoMetadata("no TDVF descriptor where the table says")),
    }
}

/// Walks the table backwards: each entry is data, its length (all included), its GUID.
fn metadata_entry(file: &[u8]) -> Result<&[u8], TdvfError> {
    let broken = TdvfError::NoMetadata("the table of GUIDs is broken");
    let (footer_guid, table_bytes, _) = entry_at_end(file).ok_or(broken.clone())?;
    if footer_guid != FOOTER_GUID {
        return Err(TdvfError::NoMetadata("no table of GUIDs"));
    }
    let start = file.len().checked_sub(table_bytes).ok_or(broken.clone())?;
    let mut table = &file[start..file.len() - ENTRY_TRAILER_BYTES];
    while !table.is_empty() {
        let (guid, bytes, data_end) = entry_at_end(table).ok_or(broken.clone())?;
        let start = table
            .len()
            .checked_sub(bytes)
            .filter(|start| *start <= data_end)
            .ok_or(broken.clone())?;
        if guid == METADATA_GUID {
            return Ok(&table[start..data_end]);
        }
        table = &table[..start];
    }
    Err(TdvfError::NoMetadata("the table of GUIDs has no TDX entry"))
}

/// GUID, whole length and end of the data of the entry that ends where `bytes` ends.
fn entry_at_end(bytes: &[u8]) -> Option<(&[u8], usize, usize)> {
    let data_end = bytes.len().checked_sub(ENTRY_TRAILER_BYTES)?;
    let trailer = &bytes[data_end..];
    let length = u16::from_le_bytes([trailer[0], trailer[1]]).into();
    (length >= ENTRY_TRAILER_BYTES).then_some((&trailer[2..], length, data_end))
}

fn section(firmware: &[u8], descriptor: &[u8], index: u32) -> Result<Section, TdvfError> {
    let wrong = |what| TdvfError::Section { index, what };
    let start = DESCRIPTOR_BYTES + index as usize * SECTION_BYTES;
    let entry = descriptor.get(start..start + SECTION_BYTES).ok_or(wrong("cut off"))?;
    let word = |at| u32_at(entry, at).expect("the entry has 32 bytes");
    let long = |at| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    let kind = match word(24) {
        0 => SectionKind::Code,
        1 => SectionKind::Configuration,
        2 => SectionKind::TdHob,
        3 => SectionKind::TemporaryMemory,
        _ => return Err(wrong("of a kind that no 2025.02 firmware has (known are 0 to 3)")),
    };
    let attributes = word(28);
    let section = Section {
        kind,
        data_offset: word(0) as usize,
        raw_bytes: word(4) as usize,
        address: long(8),
        memory_bytes: long(16),
        extend: attributes & 1 != 0,
        page_aug: attributes & 2 != 0,
    };
    if attributes & !3 != 0 {
        return Err(wrong("unknown attributes"));
    }
    if !section.address.is_multiple_of(PAGE_BYTES)
        || !section.memory_bytes.is_multiple_of(PAGE_BYTES)
    {
        return Err(wrong("not aligned to pages"));
    }
    if section.memory_bytes > MAX_SECTION_BYTES
        || section.address.checked_add(section.memory_bytes).is_none()
    {
        return Err(wrong("larger than 64 MiB, or beyond the address space"));
    }
    if section.raw_bytes as u64 > section.memory_bytes {
        return Err(wrong("more bytes than memory"));
    }
    if section.data_offset.checked_add(section.raw_bytes).is_none_or(|end| end > firmware.len()) {
        return Err(wrong("bytes beyond the end of the file"));
    }
    Ok(section)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::firmware as synthetic_firmware;

    #[test]
    fn the_metadata_is_found_behind_foreign_entries() {
        let firmware = synthetic_firmware();
        let sections = sections(&firmware).unwrap();
        assert_eq!(sections.len(), 4);
        assert_eq!((sections[0].kind, sections[0].extend), (SectionKind::Code, true));
        assert_eq!(configuration_volume(&firmware, &sections).unwrap(), &[0xff; 0x2000]);
    }

    #[test]
    fn other_files_are_refused_with_their_reason() {
        assert!(matches!(sections(&[]), Err(TdvfError::NoMetadata(_))));
        assert_eq!(
            sections(&[0; 4096]),
            Err(TdvfError::NoMetadata("the table of GUIDs is broken"))
        );
        let firmware = synthetic_firmware();
        let metadata = firmware.len() - (16 + 32 * 4 + 22 + 20 + 18 + TABLE_END);
        let broken = |at: usize, byte: u8| {
            let mut firmware = firmware.clone();
            firmware[metadata + at] = byte;
            sections(&firmware).unwrap_err()
        };
        assert_eq!(broken(0, 0), TdvfError::NoMetadata("no TDVF descriptor where the table says"));
        assert_eq!(broken(8, 2), TdvfError::Metadata { version: 2, count: 4 });
        assert_eq!(broken(12, 0), TdvfError::Metadata { version: 1, count: 0 });
        let section = |what| TdvfError::Section { index: 0, what };
        assert_eq!(broken(16 + 3, 1), section("bytes beyond the end of the file"));
        assert_eq!(broken(16 + 6, 1), section("more bytes than memory"));
        assert_eq!(broken(16 + 8, 1), section("not aligned to pages"));
        assert_eq!(broken(16 + 19, 9), section("larger than 64 MiB, or beyond the address space"));
        assert_eq!(broken(16 + 28, 4), section("unknown attributes"));
    }

    #[test]
    fn no_changed_byte_of_the_tables_panics() {
        let firmware = synthetic_firmware();
        for at in firmware.len() - 400..firmware.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut firmware = firmware.clone();
                firmware[at] = value;
                let _ = sections(&firmware);
            }
        }
    }
}
