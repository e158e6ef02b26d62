//! The configuration volume that an OVMF of 4 MiB has before anything is stored in it.
//!
//! Images that are known by digests alone (dstack's metadata) do not give their firmware's
//! configuration volume; the empty one is the same bytes in every OVMF of this size. Sources: UEFI
//! Platform Initialization specification 1.8, volume 3, section 3.2 (volume header); edk2,
//! `OvmfPkg/Include/Fdf/VarStore.fdf.inc` and
//! `MdeModulePkg/Include/Guid/{VariableFormat,SystemNvDataGuid}.h`.

use protocol::digest::Sha384Digest;

use crate::tdvf::guid;

/// Variables, their event log area, fault-tolerant working block and spare.
const VOLUME_BYTES: usize = 0x8_4000;
const BLOCK_BYTES: u32 = 0x1000;
const HEADER_BYTES: u16 = 0x48;
/// Area of the variables behind the volume's header.
const STORE_BYTES: u32 = 0x4_0000 - HEADER_BYTES as u32;
/// Where the fault-tolerant working block starts.
const WORKING_BLOCK: usize = 0x4_1000;
/// What flash holds where nothing was written.
const ERASED: u8 = 0xff;

const SYSTEM_NV_DATA: [u8; 16] =
    guid(0xfff1_2b8d, 0x7696, 0x4c8b, [0xa9, 0x85, 0x27, 0x47, 0x07, 0x5b, 0x4f, 0x50]);
const AUTHENTICATED_VARIABLES: [u8; 16] =
    guid(0xaaf3_2c78, 0x947b, 0x439a, [0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92]);
const WORKING_BLOCK_SIGNATURE: [u8; 16] =
    guid(0x9e58_292b, 0x7c68, 0x497d, [0xa0, 0xce, 0x65, 0x00, 0xfd, 0x9f, 0x1b, 0x95]);

/// Its SHA-384, which the firmware extends as RTMR0's second event.
pub fn empty_sha384() -> Sha384Digest {
    Sha384Digest::of(&empty())
}

fn empty() -> Vec<u8> {
    let mut volume = volume_header();
    volume.extend(store_header());
    volume.resize(WORKING_BLOCK, ERASED);
    volume.extend(working_block_header());
    volume.resize(VOLUME_BYTES, ERASED);
    volume
}

/// EFI_FIRMWARE_VOLUME_HEADER with a map of one run of blocks.
fn volume_header() -> Vec<u8> {
    const ATTRIBUTES: u32 = 0x0004_feff;
    const REVISION: u8 = 2;
    const CHECKSUM: usize = 0x32;
    let mut header = vec![0; 16];
    header.extend(SYSTEM_NV_DATA);
    header.extend((VOLUME_BYTES as u64).to_le_bytes());
    header.extend(b"_FVH");
    header.extend(ATTRIBUTES.to_le_bytes());
    header.extend(HEADER_BYTES.to_le_bytes());
    header.extend([0, 0, 0, 0, 0, REVISION]); // checksum, no extended header, reserved
    header.extend((VOLUME_BYTES as u32 / BLOCK_BYTES).to_le_bytes());
    header.extend(BLOCK_BYTES.to_le_bytes());
    header.extend([0; 8]); // end of the block map
    let numbers = header.chunks_exact(2).map(|word| u16::from_le_bytes([word[0], word[1]]));
    let checksum = numbers.fold(0u16, u16::wrapping_sub);
    header[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// VARIABLE_STORE_HEADER: formatted, healthy, no variable.
fn store_header() -> Vec<u8> {
    const FORMATTED: u8 = 0x5a;
    const HEALTHY: u8 = 0xfe;
    [
        &AUTHENTICATED_VARIABLES[..],
        &STORE_BYTES.to_le_bytes(),
        &[FORMATTED, HEALTHY, 0, 0, 0, 0, 0, 0],
    ]
    .concat()
}

/// EFI_FAULT_TOLERANT_WORKING_BLOCK_HEADER: valid, empty queue.
fn working_block_header() -> Vec<u8> {
    /// CRC-32 of this header with its checksum and state erased.
    const CRC32: u32 = 0x642c_af2c;
    const VALID: [u8; 4] = [0xfe, ERASED, ERASED, ERASED];
    const QUEUE_BYTES: u64 = 0xfe0;
    [&WORKING_BLOCK_SIGNATURE[..], &CRC32.to_le_bytes(), &VALID, &QUEUE_BYTES.to_le_bytes()]
        .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RTMR0's second event in all logs of real TDX guests in `tests/vectors/measurement/`.
    #[test]
    fn it_is_the_volume_of_real_guests() {
        let measured = "344bc51c980ba621aaa00da3ed7436f7d6e549197dfe699515dfa2c6583d95e6412af21c097d473155875ffd561d6790";
        assert_eq!(empty_sha384().to_string(), measured);
    }
}
