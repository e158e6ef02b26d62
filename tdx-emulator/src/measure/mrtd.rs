//! MRTD: the log of page additions and extensions by which a TD is built.
//!
//! Source: Intel TDX Module base specification, `TDH.MEM.PAGE.ADD` and `TDH.MR.EXTEND`. One pass,
//! as KVM with QEMU ≥ 9 does: each page is added and extended before the next.

use sha2::{Digest, Sha384};

use super::tdvf::{PAGE_BYTES, Section};
use crate::registers::Register;

/// Bytes of the buffer that each operation feeds to the hash.
const RECORD_BYTES: usize = 128;
/// Bytes of memory that one extension covers.
const CHUNK_BYTES: u64 = 256;

/// Builds the TD from `firmware` and returns its measurement.
pub fn measure(firmware: &[u8], sections: &[Section]) -> Register {
    let mut hasher = Sha384::new();
    for section in sections.iter().filter(|section| !section.page_aug) {
        for page in (0..section.memory_bytes).step_by(PAGE_BYTES as usize) {
            hasher.update(record(b"MEM.PAGE.ADD", section.address + page));
            if section.extend {
                extend_page(&mut hasher, section, page, section.data(firmware));
            }
        }
    }
    hasher.finalize().into()
}

fn extend_page(hasher: &mut Sha384, section: &Section, page: u64, data: &[u8]) {
    for offset in (page..page + PAGE_BYTES).step_by(CHUNK_BYTES as usize) {
        hasher.update(record(b"MR.EXTEND", section.address + offset));
        let mut chunk = [0; CHUNK_BYTES as usize];
        let rest = data.get(offset as usize..).unwrap_or_default();
        let present = rest.len().min(chunk.len());
        chunk[..present].copy_from_slice(&rest[..present]);
        hasher.update(chunk);
    }
}

fn record(operation: &[u8], address: u64) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record[..operation.len()].copy_from_slice(operation);
    record[16..24].copy_from_slice(&address.to_le_bytes());
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::tdvf::SectionKind;

    fn section(raw_bytes: usize, memory_bytes: u64, extend: bool) -> Section {
        Section {
            kind: SectionKind::Code,
            data_offset: 0,
            raw_bytes,
            address: 0x1000,
            memory_bytes,
            extend,
            page_aug: false,
        }
    }

    #[test]
    fn a_page_is_added_then_extended_in_sixteen_chunks() {
        let data = [0x5a; 300];
        let mut log = record(b"MEM.PAGE.ADD", 0x1000).to_vec();
        for chunk in 0..16_u64 {
            log.extend(record(b"MR.EXTEND", 0x1000 + 256 * chunk));
            let filled = 300_usize.saturating_sub(256 * chunk as usize).min(256);
            log.extend([[0x5a_u8].repeat(filled), vec![0; 256 - filled]].concat());
        }
        let expected: Register = Sha384::digest(log).into();
        assert_eq!(measure(&data, &[section(300, 4096, true)]), expected);
    }

    #[test]
    fn unextended_pages_count_and_late_pages_do_not() {
        let add = [record(b"MEM.PAGE.ADD", 0x1000), record(b"MEM.PAGE.ADD", 0x2000)].concat();
        let expected: Register = Sha384::digest(add).into();
        let late = Section { page_aug: true, ..section(0, 4096, false) };
        assert_eq!(measure(&[], &[section(0, 8192, false), late]), expected);
    }
}
