//! Firmware metadata: sections of an accepted image lie apart, and MRTD depends on a byte that is
//! measured.
#![no_main]

use libfuzzer_sys::fuzz_target;
use measurement::PageOrder;
use measurement::mrtd::measure;
use measurement::td_hob;
use measurement::tdvf::{MAX_SECTIONS, PAGE_BYTES, SectionKind, Tdvf};

/// MRTD of more than this takes longer than an input may.
const MEASURED_BYTES: u64 = 1 << 20;

fuzz_target!(|firmware: &[u8]| {
    let Ok(tdvf) = Tdvf::parse(firmware) else { return };
    assert!(tdvf.sections.len() <= MAX_SECTIONS as usize);
    let mut ends: Vec<_> =
        tdvf.sections.iter().map(|section| (section.address, section.length)).collect();
    ends.sort_unstable();
    assert!(ends.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
    assert!(
        ends.iter().all(|(address, length)| address % PAGE_BYTES == 0 && length % PAGE_BYTES == 0)
    );
    let hob = tdvf.sections.iter().filter(|section| section.kind == SectionKind::TdHob);
    assert_eq!(hob.count(), 1);
    for memory in [0, 1 << 30, u64::MAX] {
        let _ = td_hob::build(ends[0].0, &ends, memory);
    }
    if ends.iter().map(|(_, length)| length).sum::<u64>() > MEASURED_BYTES {
        return;
    }
    let honest = [PageOrder::SinglePass, PageOrder::TwoPass].map(|order| measure(&tdvf, order));
    let Some(measured) =
        tdvf.sections.iter().position(|section| section.extended && !section.data.is_empty())
    else {
        return;
    };
    let mut changed = tdvf.sections[measured].data.to_vec();
    changed[0] ^= 1;
    let mut other = tdvf.clone();
    other.sections[measured].data = &changed;
    for (order, honest) in [PageOrder::SinglePass, PageOrder::TwoPass].into_iter().zip(honest) {
        assert_eq!(measure(&other, order) == honest, tdvf.sections[measured].added_later);
    }
});
