//! Authenticode SHA-384 of a PE file, which is what firmware measures of a program before it starts
//! it.
//!
//! Source: Windows Authenticode Portable Executable Signature Format 1.0, "Calculating the PE image
//! hash". Only x86-64 images (PE32+). The file may be hostile: every offset is checked; overlaps,
//! which would let two files share a hash, are refused.

use protocol::digest::Sha384Digest;
use sha2::{Digest, Sha384};

/// Most sections; a kernel has 3 to 6.
pub const MAX_SECTIONS: usize = 96;
/// Implementations differ in whether they pad other files with zeros before hashing.
const ALIGNMENT: usize = 8;

const PE_POINTER: usize = 0x3c;
/// Signature and COFF header, before the optional header.
const COFF_BYTES: usize = 24;
const MAGIC_PE32_PLUS: u16 = 0x20b;
// Offsets in the optional header.
const SIZE_OF_HEADERS: usize = 60;
const CHECKSUM: usize = 64;
const CHECKSUM_BYTES: usize = 4;
const DIRECTORY_COUNT: usize = 108;
const CERTIFICATE_DIRECTORY: usize = 144;
const DIRECTORY_BYTES: usize = 8;
/// Index of the certificate table among the data directories.
const CERTIFICATE_INDEX: u32 = 4;
const SECTION_HEADER_BYTES: usize = 40;

/// Why a file has no Authenticode hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticodeError {
    /// a field lies outside the file
    #[error("PE file: {field} at {offset:#x} lies outside its {length:#x} bytes")]
    Outside {
        /// Which field.
        field: &'static str,
        /// Where it should be.
        offset: usize,
        /// The file's length.
        length: usize,
    },
    /// not an x86-64 program
    #[error("not an x86-64 PE file: {0}; a kernel needs its EFI stub (CONFIG_EFI_STUB)")]
    Format(&'static str),
    /// two parts share bytes
    #[error(
        "PE file: section {index} begins at {start:#x}, before the end of the part before it, {end:#x}"
    )]
    Overlap {
        /// The section, in file order.
        index: usize,
        /// Its start.
        start: usize,
        /// End of what was hashed before.
        end: usize,
    },
    /// a length for which implementations disagree
    #[error(
        "PE file of {length} bytes: not a multiple of 8, so its hash depends on who computes it; pad it"
    )]
    Unaligned {
        /// The file's length.
        length: usize,
    },
}

/// The hash of a PE32+ file: all but the checksum, the certificate directory entry and the
/// certificates.
pub fn sha384(file: &[u8]) -> Result<Sha384Digest, AuthenticodeError> {
    if !file.len().is_multiple_of(ALIGNMENT) {
        return Err(AuthenticodeError::Unaligned { length: file.len() });
    }
    let layout = Layout::parse(file)?;
    let mut hasher = Sha384::new();
    for (from, to) in layout.header_parts {
        hasher.update(part(file, "header", from, to)?);
    }
    let mut hashed = layout.header_end;
    let mut previous_end = layout.header_end;
    for (index, (start, length)) in layout.sections.into_iter().enumerate() {
        if start < previous_end {
            return Err(AuthenticodeError::Overlap { index, start, end: previous_end });
        }
        previous_end = start + length;
        hasher.update(part(file, "section", start, previous_end)?);
        hashed += length;
    }
    if file.len() > hashed {
        let end = file.len() - layout.certificates.min(file.len() - hashed);
        hasher.update(part(file, "trailing data", hashed, end)?);
    }
    Ok(Sha384Digest(hasher.finalize().into()))
}

/// Where the hashed parts of a file are.
struct Layout {
    /// The header around checksum and certificate directory, as (start, end).
    header_parts: [(usize, usize); 3],
    header_end: usize,
    /// (start, length) of the sections with data, in file order.
    sections: Vec<(usize, usize)>,
    /// Length of the certificates at the file's end.
    certificates: usize,
}

impl Layout {
    fn parse(file: &[u8]) -> Result<Self, AuthenticodeError> {
        if !file.starts_with(b"MZ") {
            return Err(AuthenticodeError::Format("no MZ signature"));
        }
        let pe = u32_at(file, "PE pointer", PE_POINTER)? as usize;
        if part(file, "PE signature", pe, pe.saturating_add(4))? != b"PE\0\0" {
            return Err(AuthenticodeError::Format("no PE signature"));
        }
        let optional = pe + COFF_BYTES;
        if u16_at(file, "magic", optional)? != MAGIC_PE32_PLUS {
            return Err(AuthenticodeError::Format("its optional header is not PE32+"));
        }
        if u32_at(file, "directory count", optional + DIRECTORY_COUNT)? <= CERTIFICATE_INDEX {
            return Err(AuthenticodeError::Format("no certificate directory"));
        }
        let checksum = optional + CHECKSUM;
        let directory = optional + CERTIFICATE_DIRECTORY;
        let header_end = u32_at(file, "header size", optional + SIZE_OF_HEADERS)? as usize;
        if header_end < directory + DIRECTORY_BYTES {
            return Err(AuthenticodeError::Format("a header size within its header"));
        }
        Ok(Self {
            header_parts: [
                (0, checksum),
                (checksum + CHECKSUM_BYTES, directory),
                (directory + DIRECTORY_BYTES, header_end),
            ],
            header_end,
            sections: sections(file, pe)?,
            certificates: u32_at(file, "certificate size", directory + 4)? as usize,
        })
    }
}

fn sections(file: &[u8], pe: usize) -> Result<Vec<(usize, usize)>, AuthenticodeError> {
    const COUNT: usize = 6;
    const OPTIONAL_HEADER_SIZE: usize = 20;
    const RAW_SIZE: usize = 16;
    const RAW_POINTER: usize = 20;
    let count = usize::from(u16_at(file, "section count", pe + COUNT)?);
    if count > MAX_SECTIONS {
        return Err(AuthenticodeError::Format("more than 96 sections"));
    }
    let table = pe
        + COFF_BYTES
        + usize::from(u16_at(file, "optional header size", pe + OPTIONAL_HEADER_SIZE)?);
    let mut sections = Vec::new();
    for index in 0..count {
        let header = table + index * SECTION_HEADER_BYTES;
        let length = u32_at(file, "section size", header + RAW_SIZE)? as usize;
        let start = u32_at(file, "section pointer", header + RAW_POINTER)? as usize;
        if length > 0 {
            sections.push((start, length));
        }
    }
    sections.sort_unstable();
    Ok(sections)
}

fn part<'a>(
    file: &'a [u8],
    field: &'static str,
    from: usize,
    to: usize,
) -> Result<&'a [u8], AuthenticodeError> {
    file.get(from..to).ok_or(AuthenticodeError::Outside { field, offset: from, length: file.len() })
}

fn u16_at(file: &[u8], field: &'static str, offset: usize) -> Result<u16, AuthenticodeError> {
    let bytes = part(file, field, offset, offset.saturating_add(2))?;
    Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
}

fn u32_at(file: &[u8], field: &'static str, offset: usize) -> Result<u32, AuthenticodeError> {
    let bytes = part(file, field, offset, offset.saturating_add(4))?;
    Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    const OPTIONAL: usize = 0x80 + COFF_BYTES;

    /// A PE32+ file: header to 0x400, two sections in reverse table order, 16 bytes behind them.
    pub(crate) fn pe() -> Vec<u8> {
        let mut file: Vec<u8> = (0..0x810usize).map(|at| (at / 3) as u8).collect();
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"MZ");
        put(PE_POINTER, &0x80u32.to_le_bytes());
        put(0x80, b"PE\0\0");
        put(0x86, &2u16.to_le_bytes());
        put(0x94, &240u16.to_le_bytes());
        put(OPTIONAL, &MAGIC_PE32_PLUS.to_le_bytes());
        put(OPTIONAL + SIZE_OF_HEADERS, &0x400u32.to_le_bytes());
        put(OPTIONAL + DIRECTORY_COUNT, &16u32.to_le_bytes());
        put(OPTIONAL + CERTIFICATE_DIRECTORY, &[0; 8]);
        for (index, (start, length)) in
            [(0x600u32, 0x200u32), (0x400, 0x200)].into_iter().enumerate()
        {
            let header = OPTIONAL + 240 + index * SECTION_HEADER_BYTES;
            put(header + 16, &length.to_le_bytes());
            put(header + 20, &start.to_le_bytes());
        }
        file
    }

    #[test]
    fn everything_counts_but_checksum_and_certificates() {
        let file = pe();
        let (checksum, directory) = (OPTIONAL + CHECKSUM, OPTIONAL + CERTIFICATE_DIRECTORY);
        let hashed =
            [&file[..checksum], &file[checksum + 4..directory], &file[directory + 8..]].concat();
        assert_eq!(sha384(&file), Ok(Sha384Digest::of(&hashed)));

        let mut signed = file.clone();
        signed.extend([0xaa; 24]);
        signed[checksum] ^= 1;
        signed[directory..directory + 4].copy_from_slice(&0x810u32.to_le_bytes());
        signed[directory + 4..directory + 8].copy_from_slice(&24u32.to_le_bytes());
        assert_eq!(sha384(&signed), sha384(&file));

        let mut other = file;
        other[0x700] ^= 1;
        assert_ne!(sha384(&other), sha384(&signed));
    }

    #[test]
    fn overlaps_and_odd_lengths_are_refused() {
        let mut file = pe();
        file[OPTIONAL + 240 + 20] = 0xff;
        file[OPTIONAL + 240 + 21] = 0x05;
        assert_eq!(
            sha384(&file),
            Err(AuthenticodeError::Overlap { index: 1, start: 0x5ff, end: 0x600 })
        );
        file.push(0);
        assert_eq!(sha384(&file), Err(AuthenticodeError::Unaligned { length: 0x811 }));
        assert!(matches!(sha384(b"\x7fELF...."), Err(AuthenticodeError::Format(_))));
    }

    proptest! {
        #[test]
        fn no_damaged_file_panics(at in 0usize..0x200, word: u32, cut in 0usize..0x102) {
            let mut file = pe();
            file[at..at + 4].copy_from_slice(&word.to_le_bytes());
            let _ = sha384(&file);
            let _ = sha384(&file[..cut * 8]);
        }
    }
}
