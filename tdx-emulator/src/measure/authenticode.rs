//! The Authenticode digest of a kernel, which firmware extends when it starts an EFI program.
//!
//! Sources: Microsoft, "Windows Authenticode Portable Executable Signature Format" 1.0, section
//! "Calculating the PE Image Hash"; edk2 `MeasurePeImageAndExtend`, which adds no padding at the
//! end. The file is taken as it lies on disk: for a confidential guest QEMU ≥ 10.2 patches nothing
//! in it.

use object::LittleEndian as LE;
use object::pe::{
    IMAGE_DIRECTORY_ENTRY_SECURITY, ImageDosHeader, ImageNtHeaders64, ImageSectionHeader,
};
use object::read::pe::ImageNtHeaders as _;
use sha2::{Digest, Sha384};

use crate::registers::Register;

/// Largest kernel.
pub const MAX_KERNEL_BYTES: usize = 256 << 20;

/// Signature and file header before the optional header.
const OPTIONAL_HEADER_AT: usize = 4 + 20;
/// `CheckSum` in the optional header.
const CHECKSUM_AT: usize = OPTIONAL_HEADER_AT + 64;
/// The security entry of the data directories, which follow 112 bytes of a 64-bit optional header.
const SECURITY_AT: usize = OPTIONAL_HEADER_AT + 112 + 8 * IMAGE_DIRECTORY_ENTRY_SECURITY;

/// Why a kernel has no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticodeError {
    /// larger than any kernel
    #[error("kernel: {0} bytes, at most {MAX_KERNEL_BYTES} are accepted")]
    TooLarge(usize),
    /// not a 64-bit PE image
    #[error("kernel: not a 64-bit EFI program: {0} (a bzImage with CONFIG_EFI_STUB is one)")]
    NotPe(String),
    /// a part lies outside the file
    #[error("kernel: {0} beyond the end of the file")]
    OutOfFile(&'static str),
}

/// Hashes all of `file` but its checksum, the entry for its signatures and the signatures.
pub fn digest(file: &[u8]) -> Result<Register, AuthenticodeError> {
    if file.len() > MAX_KERNEL_BYTES {
        return Err(AuthenticodeError::TooLarge(file.len()));
    }
    let not_pe = |error: object::Error| AuthenticodeError::NotPe(error.to_string());
    let dos = ImageDosHeader::parse(file).map_err(not_pe)?;
    let start = dos.nt_headers_offset() as usize;
    let mut offset = start as u64;
    let (headers, directories) = ImageNtHeaders64::parse(file, &mut offset).map_err(not_pe)?;
    let table = headers.sections(file, offset).map_err(not_pe)?;
    let headers_end = headers.optional_header.size_of_headers.get(LE) as usize;
    let signatures = directories
        .get(IMAGE_DIRECTORY_ENTRY_SECURITY)
        .map_or(0, |entry| entry.size.get(LE) as usize);

    let mut hasher = Sha384::new();
    hasher.update(part(file, 0, start + CHECKSUM_AT, "headers")?);
    hasher.update(part(file, start + CHECKSUM_AT + 4, start + SECURITY_AT, "headers")?);
    hasher.update(part(file, start + SECURITY_AT + 8, headers_end, "headers")?);
    let sections = hash_sections(&mut hasher, file, table.iter())?;
    let end =
        file.len().checked_sub(signatures).ok_or(AuthenticodeError::OutOfFile("signatures"))?;
    if end > headers_end + sections {
        hasher.update(&file[headers_end + sections..end]);
    }
    Ok(hasher.finalize().into())
}

/// Hashes the sections in the order of the file and returns their bytes.
fn hash_sections<'a>(
    hasher: &mut Sha384,
    file: &[u8],
    sections: impl Iterator<Item = &'a ImageSectionHeader>,
) -> Result<usize, AuthenticodeError> {
    let mut extents: Vec<_> = sections
        .map(|section| {
            (
                section.pointer_to_raw_data.get(LE) as usize,
                section.size_of_raw_data.get(LE) as usize,
            )
        })
        .filter(|(_, bytes)| *bytes > 0)
        .collect();
    extents.sort_by_key(|(start, _)| *start);
    let mut total = 0;
    for (start, bytes) in extents {
        hasher.update(part(file, start, start.saturating_add(bytes), "a section")?);
        total += bytes;
    }
    Ok(total)
}

fn part<'a>(
    file: &'a [u8],
    start: usize,
    end: usize,
    what: &'static str,
) -> Result<&'a [u8], AuthenticodeError> {
    file.get(start..end).ok_or(AuthenticodeError::OutOfFile(what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::{
        KERNEL_HEADERS as HEADERS, KERNEL_NT as NT, kernel as synthetic_kernel,
    };

    #[test]
    fn all_but_checksum_entry_and_signatures_is_hashed_in_file_order() {
        let file = synthetic_kernel();
        let mut expected = file[..NT + CHECKSUM_AT].to_vec();
        expected.extend(&file[NT + CHECKSUM_AT + 4..NT + SECURITY_AT]);
        expected.extend(&file[NT + SECURITY_AT + 8..file.len() - 8]);
        let expected: Register = Sha384::digest(expected).into();
        assert_eq!(digest(&file), Ok(expected));
    }

    #[test]
    fn the_setup_header_of_the_file_counts() {
        let mut file = synthetic_kernel();
        let before = digest(&file);
        file[0x40] ^= 1;
        assert_ne!(digest(&file), before);
    }

    #[test]
    fn other_files_are_refused_and_nothing_panics() {
        assert!(matches!(digest(b"#!/bin/sh"), Err(AuthenticodeError::NotPe(_))));
        let file = synthetic_kernel();
        assert_eq!(digest(&file[..0x680]), Err(AuthenticodeError::OutOfFile("a section")));
        for at in 0..HEADERS {
            for value in [0, 0x7f, 0xff] {
                let mut file = file.clone();
                file[at] = value;
                let _ = digest(&file);
            }
        }
    }
}
