//! Templates of file systems: what is accepted fits its disk, in order, and is written again in
//! exactly this one way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::disk_template::{self, BLOCK_BYTES, MAX_BLOCKS};

/// Larger file systems are not laid out in memory here.
const MOST_BLOCKS: u32 = 64;

fuzz_target!(|bytes: &[u8]| {
    let Ok(template) = disk_template::decode(bytes) else { return };
    let mut end = 0;
    for extent in &template.extents {
        assert!(extent.first_block >= end && extent.blocks > 0);
        end = extent.first_block + extent.blocks;
        assert!(extent.data.is_none_or(|data| data.len() == extent.blocks as usize * BLOCK_BYTES));
    }
    assert!(end <= template.blocks && template.blocks <= MAX_BLOCKS);
    if template.blocks > MOST_BLOCKS {
        return;
    }
    // Two fillings: what is not written shows the filling, so both images together say what is.
    let image = |filling: u8| {
        let mut image = vec![filling; template.blocks as usize * BLOCK_BYTES];
        for extent in &template.extents {
            let start = extent.offset_bytes() as usize;
            let length = extent.blocks as usize * BLOCK_BYTES;
            match extent.data {
                Some(data) => image[start..start + length].copy_from_slice(data),
                None => image[start..start + length].fill(0),
            }
        }
        image
    };
    let data = || {
        template
            .extents
            .iter()
            .filter_map(|extent| extent.data)
            .flat_map(|data| data.chunks(BLOCK_BYTES))
    };
    let Some(untouched) =
        (1..=255).find(|byte| !data().any(|block| block.iter().all(|other| other == byte)))
    else {
        return;
    };
    // A data block of zeros is legal, and joined differently when it is written again.
    if data().any(|block| block.iter().all(|byte| *byte == 0)) {
        return;
    }
    assert_eq!(disk_template::encode(&image(untouched), untouched).as_deref(), Ok(bytes));
});
