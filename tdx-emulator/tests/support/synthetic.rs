//! A firmware and a kernel made of nothing, as small as their formats allow; for unit tests and the
//! service's.

/// Where the PE header of [`kernel`] starts.
pub const KERNEL_NT: usize = 0x80;
/// Size of all its headers.
pub const KERNEL_HEADERS: usize = 0x400;

/// The TDX entry of the table of GUIDs, and its footer.
const METADATA_GUID: [u8; 16] = [
    0x35, 0x65, 0x7a, 0xe4, 0x4a, 0x98, 0x98, 0x47, 0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf, 0x8e, 0xc2,
];
const FOOTER_GUID: [u8; 16] = [
    0xde, 0x82, 0xb5, 0x96, 0xb2, 0x1f, 0xf7, 0x45, 0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d,
];

/// A firmware of two pages of variables, one of code, and an OVMF-like table, all made here.
pub fn firmware() -> Vec<u8> {
    let mut file = vec![0xff; 0x2000];
    file.extend([0x90; 0x1000]);
    let sections: [[u64; 6]; 4] = [
        [0x2000, 0x1000, 0xffff_f000, 0x1000, 0, 1],
        [0, 0x2000, 0xffff_d000, 0x2000, 1, 0],
        [0, 0, 0x80_9000, 0x2000, 2, 0],
        [0, 0, 0x81_0000, 0x1_0000, 3, 0],
    ];
    let mut metadata = b"TDVF".to_vec();
    for word in [16 + 32 * 4_u32, 1, 4] {
        metadata.extend(word.to_le_bytes());
    }
    for [offset, raw, address, memory, kind, attributes] in sections {
        metadata.extend((offset as u32).to_le_bytes());
        metadata.extend((raw as u32).to_le_bytes());
        metadata.extend(address.to_le_bytes());
        metadata.extend(memory.to_le_bytes());
        metadata.extend((kind as u32).to_le_bytes());
        metadata.extend((attributes as u32).to_le_bytes());
    }
    // A foreign entry behind ours, then the footer, then the reset vector.
    let offset_from_end = metadata.len() + 22 + 20 + 18 + 32;
    let mut table = (offset_from_end as u32).to_le_bytes().to_vec();
    table.extend(22_u16.to_le_bytes());
    table.extend(METADATA_GUID);
    table.extend([1, 2]);
    table.extend(20_u16.to_le_bytes());
    table.extend([7; 16]);
    table.extend(60_u16.to_le_bytes());
    table.extend(FOOTER_GUID);
    let tail = [metadata, table, vec![0; 32]].concat();
    let start = file.len() - tail.len();
    file.splice(start.., tail);
    file
}

/// A PE image with two sections in reverse order in its table, trailing data and signatures.
pub fn kernel() -> Vec<u8> {
    let mut file = vec![0; KERNEL_HEADERS];
    let put = |file: &mut Vec<u8>, at: usize, bytes: &[u8]| {
        file[at..at + bytes.len()].copy_from_slice(bytes)
    };
    put(&mut file, 0, b"MZ");
    put(&mut file, 0x3c, &(KERNEL_NT as u32).to_le_bytes());
    put(&mut file, KERNEL_NT, b"PE\0\0");
    put(&mut file, KERNEL_NT + 4, &0x8664_u16.to_le_bytes());
    put(&mut file, KERNEL_NT + 6, &2_u16.to_le_bytes());
    put(&mut file, KERNEL_NT + 20, &240_u16.to_le_bytes());
    put(&mut file, KERNEL_NT + 24, &0x20b_u16.to_le_bytes());
    put(&mut file, KERNEL_NT + 24 + 60, &(KERNEL_HEADERS as u32).to_le_bytes());
    put(&mut file, KERNEL_NT + 24 + 64, &[0xcc; 4]);
    put(&mut file, KERNEL_NT + 24 + 108, &16_u32.to_le_bytes());
    put(&mut file, KERNEL_NT + 24 + 144, &0x70c_u32.to_le_bytes());
    put(&mut file, KERNEL_NT + 24 + 144 + 4, &8_u32.to_le_bytes());
    for (index, (start, bytes)) in [(0x600_u32, 0x100_u32), (0x400, 0x200)].into_iter().enumerate()
    {
        let at = KERNEL_NT + 24 + 240 + 40 * index;
        put(&mut file, at + 16, &bytes.to_le_bytes());
        put(&mut file, at + 20, &start.to_le_bytes());
    }
    file.extend([1; 0x200]);
    file.extend([2; 0x100]);
    file.extend([3; 12]);
    file.extend([4; 8]);
    file
}
