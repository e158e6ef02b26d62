//! The kernel as QEMU hands it over where it rewrites the boot protocol's setup header first.
//!
//! QEMU before 10.2 does so always, later ones only for guests that are not confidential. RTMR1
//! then depends on memory size and initrd length. Sources: QEMU `hw/i386/x86-common.c`; Linux
//! `Documentation/arch/x86/boot.rst` (field offsets).

use crate::acpi::low_memory_bytes;

/// Room that q35 keeps for ACPI tables at the end of low memory.
const ACPI_DATA_BYTES: u64 = 0x2_8000;
/// QEMU's identification as a boot loader.
const LOADER_TYPE: u8 = 0xb0;
const PAGE_MASK: u64 = 0xfff;

/// A kernel that this code does not rewrite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KernelHeaderError {
    /// no high-loading setup header of boot protocol 2.03 or later
    #[error(
        "no high-loading setup header of boot protocol 2.03 or later in {length} bytes; is this a bzImage?"
    )]
    NoHeader {
        /// The file's length.
        length: usize,
    },
    /// the initrd does not fit below its limit
    #[error(
        "an initrd of {initrd_bytes} bytes does not fit below {limit:#x}; give the guest more memory"
    )]
    InitrdTooLarge {
        /// The initrd's length.
        initrd_bytes: u64,
        /// Highest address for its last byte.
        limit: u64,
    },
}

/// The kernel's bytes after QEMU filled in loader type, heap, command line and initrd addresses.
pub fn as_loaded(
    kernel: &[u8],
    initrd_bytes: u64,
    memory_bytes: u64,
) -> Result<Vec<u8>, KernelHeaderError> {
    const MAGIC: usize = 0x202;
    const VERSION: usize = 0x206;
    const LOAD_FLAGS: usize = 0x211;
    const LOADED_HIGH: u8 = 0x01;
    const HEADER_END: usize = 0x238;
    /// Every kernel with an EFI stub is newer.
    const OLDEST_PROTOCOL: u16 = 0x203;
    let protocol = kernel.get(..HEADER_END).and_then(|header| {
        let protocol = u16::from_le_bytes([header[VERSION], header[VERSION + 1]]);
        let known = &header[MAGIC..MAGIC + 4] == b"HdrS" && header[LOAD_FLAGS] & LOADED_HIGH != 0;
        (known && protocol >= OLDEST_PROTOCOL).then_some(protocol)
    });
    let protocol = protocol.ok_or(KernelHeaderError::NoHeader { length: kernel.len() })?;
    let initrd = initrd_address(kernel_limit(kernel, protocol), initrd_bytes, memory_bytes)?;
    let mut loaded = kernel.to_vec();
    write_header(&mut loaded, initrd, initrd_bytes);
    Ok(loaded)
}

/// Highest address for the initrd that the kernel accepts.
fn kernel_limit(kernel: &[u8], protocol: u16) -> u64 {
    const INITRD_MAX: usize = 0x22c;
    const XLOADFLAGS: usize = 0x236;
    const CAN_BE_LOADED_ABOVE_4G: u8 = 1 << 1;
    /// First protocol with the flags above.
    const WITH_XLOADFLAGS: u16 = 0x20c;
    if protocol >= WITH_XLOADFLAGS && kernel[XLOADFLAGS] & CAN_BE_LOADED_ABOVE_4G != 0 {
        return u32::MAX.into();
    }
    let mut stated = [0; 4];
    stated.copy_from_slice(&kernel[INITRD_MAX..INITRD_MAX + 4]);
    u32::from_le_bytes(stated).into()
}

fn initrd_address(
    kernel_limit: u64,
    initrd_bytes: u64,
    memory_bytes: u64,
) -> Result<u64, KernelHeaderError> {
    let limit =
        kernel_limit.min(low_memory_bytes(memory_bytes).saturating_sub(ACPI_DATA_BYTES + 1));
    let address = limit
        .checked_sub(initrd_bytes)
        .ok_or(KernelHeaderError::InitrdTooLarge { initrd_bytes, limit })?;
    Ok(address & !PAGE_MASK)
}

/// Writes the header's fields; addresses are below 4 GiB.
fn write_header(kernel: &mut [u8], initrd: u64, initrd_bytes: u64) {
    const CAN_USE_HEAP: u8 = 0x80;
    /// Where QEMU puts the setup code and, behind it, the command line.
    const SETUP: u32 = 0x1_0000;
    const COMMAND_LINE: u32 = 0x2_0000;
    /// The heap ends this much before the command line.
    const HEAP_GAP: u32 = 0x200;
    let mut put = |at: usize, value: u32| kernel[at..at + 4].copy_from_slice(&value.to_le_bytes());
    put(0x218, initrd as u32);
    put(0x21c, initrd_bytes as u32);
    put(0x224, COMMAND_LINE - SETUP - HEAP_GAP);
    put(0x228, COMMAND_LINE);
    kernel[0x210] = LOADER_TYPE;
    kernel[0x211] |= CAN_USE_HEAP;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(protocol: u16, xloadflags: u8) -> Vec<u8> {
        let mut kernel = vec![0x55; 0x400];
        kernel[0x202..0x206].copy_from_slice(b"HdrS");
        kernel[0x206..0x208].copy_from_slice(&protocol.to_le_bytes());
        kernel[0x211] = 1;
        kernel[0x22c..0x230].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
        kernel[0x236] = xloadflags;
        kernel
    }

    fn initrd_of(memory_bytes: u64) -> u32 {
        let loaded = as_loaded(&kernel(0x20f, 0x7f), 0x12_3456, memory_bytes).unwrap();
        u32::from_le_bytes([loaded[0x218], loaded[0x219], loaded[0x21a], loaded[0x21b]])
    }

    #[test]
    fn the_initrd_ends_below_the_tables_at_the_end_of_low_memory() {
        assert_eq!(initrd_of(1 << 30), 0x4000_0000 - 0x2_8000 - 0x12_4000);
        assert_eq!(initrd_of(2 << 30), initrd_of(2816 << 20));
        assert_ne!(initrd_of(2 << 30), initrd_of(2815 << 20));
        assert_eq!(initrd_of(16 << 30), initrd_of(2816 << 20));
    }

    #[test]
    fn only_the_fields_of_the_protocol_change() {
        let before = kernel(0x20f, 0x7f);
        let after = as_loaded(&before, 0x1000, 1 << 30).unwrap();
        let changed: Vec<usize> =
            (0..before.len()).filter(|at| before[*at] != after[*at]).collect();
        assert!(
            changed.iter().all(|at| (0x210..=0x211).contains(at) || (0x218..0x22c).contains(at)),
            "{changed:x?}"
        );
        assert_eq!(after[0x224..0x22c], [0, 0xfe, 0, 0, 0, 0, 2, 0]);
    }

    #[test]
    fn old_kernels_and_large_initrds_are_refused() {
        let old = KernelHeaderError::NoHeader { length: 0x400 };
        assert_eq!(as_loaded(&kernel(0x202, 0), 1, 1 << 30), Err(old));
        let error = as_loaded(&kernel(0x20f, 0x7f), 1 << 30, 1 << 30).unwrap_err();
        assert!(matches!(error, KernelHeaderError::InitrdTooLarge { .. }));
    }
}
