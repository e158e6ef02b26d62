//! Kernels: an Authenticode hash does not depend on the checksum field, and rewriting keeps a
//! kernel a kernel.
#![no_main]

use libfuzzer_sys::fuzz_target;
use measurement::{authenticode, kernel_header};

/// Where a PE file points to its header, and the checksum's place behind that.
const POINTER: usize = 0x3c;
const CHECKSUM: usize = 24 + 64;

fuzz_target!(|file: &[u8]| {
    let Ok(digest) = authenticode::sha384(file) else { return };
    let pointer = u32::from_le_bytes([
        file[POINTER],
        file[POINTER + 1],
        file[POINTER + 2],
        file[POINTER + 3],
    ]) as usize;
    let mut other = file.to_vec();
    other[pointer + CHECKSUM] ^= 0xff;
    assert_eq!(authenticode::sha384(&other), Ok(digest));
    for (initrd, memory) in [(1 << 20, 1 << 30), (u64::MAX, u64::MAX), (0, 0)] {
        let Ok(loaded) = kernel_header::as_loaded(file, initrd, memory) else { continue };
        assert_eq!(loaded.len(), file.len());
        assert_eq!(kernel_header::as_loaded(&loaded, initrd, memory), Ok(loaded));
    }
});
