//! MRTD: the measurement of a TD's first pages, as the TDX module takes it while the VMM builds the
//! TD.
//!
//! Source: Intel TDX Module base specification, `TDH.MEM.PAGE.ADD` and `TDH.MR.EXTEND`. Every page
//! that is added and every 256 bytes that are measured contribute a 128-byte record. The order of
//! the records is the VMM's choice, so there are two values; neither depends on processors, memory
//! size or devices.

use protocol::digest::Mrtd;
use sha2::{Digest, Sha384};

use crate::profile::PageOrder;
use crate::tdvf::{PAGE_BYTES, Section, Tdvf};

/// Bytes that one `TDH.MR.EXTEND` measures.
const CHUNK_BYTES: usize = 256;
/// Length of a record.
const RECORD_BYTES: usize = 128;
/// Where a record holds the guest-physical address.
const RECORD_ADDRESS: usize = 16;

/// MRTD of a firmware in one order.
pub fn measure(firmware: &Tdvf<'_>, order: PageOrder) -> Mrtd {
    let mut hasher = Sha384::new();
    for section in firmware.sections.iter().filter(|section| !section.added_later) {
        match order {
            PageOrder::SinglePass => pages(section).for_each(|page| {
                add(&mut hasher, section, page);
                extend(&mut hasher, section, page);
            }),
            PageOrder::TwoPass => {
                pages(section).for_each(|page| add(&mut hasher, section, page));
                pages(section).for_each(|page| extend(&mut hasher, section, page));
            }
        }
    }
    Mrtd(hasher.finalize().into())
}

/// Offsets of a section's pages.
fn pages(section: &Section<'_>) -> impl Iterator<Item = u64> {
    (0..section.length).step_by(PAGE_BYTES as usize)
}

fn add(hasher: &mut Sha384, section: &Section<'_>, page: u64) {
    hasher.update(record(b"MEM.PAGE.ADD", section.address + page));
}

fn extend(hasher: &mut Sha384, section: &Section<'_>, page: u64) {
    if !section.extended {
        return;
    }
    // A measured section's data fills its memory, so the page is whole.
    let start = page as usize;
    for (chunk, address) in section.data[start..start + PAGE_BYTES as usize]
        .chunks_exact(CHUNK_BYTES)
        .zip((section.address + page..).step_by(CHUNK_BYTES))
    {
        hasher.update(record(b"MR.EXTEND", address));
        hasher.update(chunk);
    }
}

fn record(operation: &[u8], address: u64) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record[..operation.len()].copy_from_slice(operation);
    record[RECORD_ADDRESS..RECORD_ADDRESS + 8].copy_from_slice(&address.to_le_bytes());
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tdvf::tests::{Numbers, SECTIONS, firmware};

    /// Single pass, two passes.
    fn orders(firmware: &Tdvf<'_>) -> [Mrtd; 2] {
        [PageOrder::SinglePass, PageOrder::TwoPass].map(|order| measure(firmware, order))
    }

    #[test]
    fn one_measured_page_hashes_to_its_seventeen_records() {
        let image = firmware(&SECTIONS);
        let mut expected = Vec::new();
        let mut record = |operation: &str, address: u64, content: &[u8]| {
            let head = [operation.as_bytes(), &vec![0; 16 - operation.len()]].concat();
            expected.extend([&head[..], &address.to_le_bytes(), &[0; 104], content].concat());
        };
        record("MEM.PAGE.ADD", 0xffff_f000, &[]);
        for chunk in 0..16u64 {
            let from = 0x1000 + 256 * chunk as usize;
            record("MR.EXTEND", 0xffff_f000 + 256 * chunk, &image[from..from + 256]);
        }
        let mut tdvf = Tdvf::parse(&image).unwrap();
        tdvf.sections.truncate(1);
        let expected = Mrtd(Sha384::digest(&expected).into());
        assert_eq!(orders(&tdvf), [expected, expected]);
    }

    #[test]
    fn the_orders_differ_only_where_a_measured_section_has_several_pages() {
        let image = firmware(&SECTIONS);
        let mut tdvf = Tdvf::parse(&image).unwrap();
        let one_page = orders(&tdvf);
        assert_eq!(one_page[0], one_page[1]);
        let large: Numbers = (0, 0x2000, 0xffff_e000, 0x2000, 0, 1);
        let (data, ..) = image.split_at(large.1 as usize);
        tdvf.sections[0] =
            Section { data, address: large.2, length: large.3, ..tdvf.sections[0].clone() };
        let two_pages = orders(&tdvf);
        assert_ne!(two_pages[0], two_pages[1]);
    }

    #[test]
    fn pages_that_the_guest_adds_later_are_no_part_of_it() {
        let image = firmware(&SECTIONS);
        let mut tdvf = Tdvf::parse(&image).unwrap();
        let before = orders(&tdvf);
        tdvf.sections.push(Section { added_later: true, ..tdvf.sections[2].clone() });
        assert_eq!(orders(&tdvf), before);
    }
}
