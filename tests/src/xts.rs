//! What the guest's `dm-crypt` writes, decrypted: AES-256-XTS over blocks of 4 KiB, each tweaked by
//! its number (`aes-xts-plain64`, `sector_size:4096 iv_large_sectors`).
//!
//! Written from IEEE 1619 and not from the agent's table, so that a test that reads a disk with it
//! also shows in which format that disk is.

use aes::Aes256;
use aes::cipher::{BlockCipherDecrypt as _, BlockCipherEncrypt as _, KeyInit as _};

/// Bytes of AES's own block.
const BYTES: usize = 16;

/// The key of one disk.
pub struct Xts {
    data: Aes256,
    tweak: Aes256,
}

impl Xts {
    /// From the 512 bits that the KMS derives.
    pub fn new(key: &[u8; 64]) -> Self {
        let half = |half: &[u8]| Aes256::new_from_slice(half).expect("32 bytes");
        Self { data: half(&key[..32]), tweak: half(&key[32..]) }
    }

    /// Decrypts the block with this number.
    pub fn decrypt(&self, number: u64, block: &[u8]) -> Vec<u8> {
        let mut tweak = u128::from(number).to_le_bytes();
        self.tweak.encrypt_block((&mut tweak).into());
        let mut tweak = u128::from_le_bytes(tweak);
        let mut plain = block.to_vec();
        for part in plain.chunks_exact_mut(BYTES) {
            let part: &mut [u8; BYTES] = part.try_into().expect("16 bytes");
            xor(part, tweak);
            self.data.decrypt_block(part.into());
            xor(part, tweak);
            // Times x in the field of IEEE 1619, clause 5.2.
            tweak = (tweak << 1) ^ ((tweak >> 127) * 0x87);
        }
        plain
    }
}

fn xor(part: &mut [u8; BYTES], with: u128) {
    *part = (u128::from_le_bytes(*part) ^ with).to_le_bytes();
}
