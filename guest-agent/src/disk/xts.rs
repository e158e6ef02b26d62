//! AES-256-XTS over blocks of 4 KiB, as the kernel's `dm-crypt` does it with the table of
//! [`super::key`]: for moving a disk from one key to another while nothing of it is mounted.
//!
//! Source: IEEE 1619-2018, clause 5. Each block is a data unit of its own, whose number is the
//! tweak; a block is a multiple of AES's, so that no ciphertext is stolen.

use aes::cipher::{BlockCipherDecrypt as _, BlockCipherEncrypt as _, KeyInit as _};
use aes::{Aes256, Block};
use protocol::disk_template::BLOCK_BYTES;

/// Bytes of AES's own block.
const PART_BYTES: usize = 16;
/// What the tweak is reduced with: x^128 + x^7 + x^2 + x + 1.
const POLYNOMIAL: u128 = 0x87;

/// A mask for each of AES's blocks.
type Masks = [u128; BLOCK_BYTES / PART_BYTES];

/// The key of one disk; cleared when it is dropped. It has no `Debug`.
pub struct Xts {
    data: Aes256,
    tweak: Aes256,
}

impl Xts {
    /// Of the key as `dm-crypt` takes it: that of the data, then that of the tweaks.
    pub fn new(key: &[u8; 64]) -> Self {
        let half = |half: &[u8]| Aes256::new_from_slice(half).expect("a half has 32 bytes");
        Self { data: half(&key[..32]), tweak: half(&key[32..]) }
    }

    /// Encrypts the block with this number, in place.
    pub fn encrypt(&self, number: u64, block: &mut [u8; BLOCK_BYTES]) {
        self.masked(number, block, |parts| self.data.encrypt_blocks(parts));
    }

    /// Decrypts the block with this number, in place.
    pub fn decrypt(&self, number: u64, block: &mut [u8; BLOCK_BYTES]) {
        self.masked(number, block, |parts| self.data.decrypt_blocks(parts));
    }

    fn masked(
        &self,
        number: u64,
        block: &mut [u8; BLOCK_BYTES],
        cipher: impl FnOnce(&mut [Block]),
    ) {
        let masks = self.masks(number);
        mask(block, &masks);
        cipher(Block::slice_as_chunks_mut(block).0);
        mask(block, &masks);
    }

    fn masks(&self, number: u64) -> Masks {
        let mut first = u128::from(number).to_le_bytes();
        self.tweak.encrypt_block((&mut first).into());
        let mut next = u128::from_le_bytes(first);
        std::array::from_fn(|_| {
            let mask = next;
            next = (mask << 1) ^ ((mask >> 127) * POLYNOMIAL);
            mask
        })
    }
}

fn mask(block: &mut [u8; BLOCK_BYTES], masks: &Masks) {
    let (parts, _) = block.as_chunks_mut::<PART_BYTES>();
    for (part, mask) in parts.iter_mut().zip(masks) {
        *part = (u128::from_le_bytes(*part) ^ mask).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first 32 bytes of vector 10 of IEEE 1619-2018, annex B: AES-256, data unit 0xff, whose
    /// plaintext is 00 01 02 … . They do not depend on the unit's length.
    #[test]
    fn a_block_is_encrypted_as_in_the_standard_and_decrypted_again() {
        let key = hex::decode(
            "2718281828459045235360287471352662497757247093699959574966967627\
             3141592653589793238462643383279502884197169399375105820974944592",
        );
        let xts = Xts::new(&key.unwrap().try_into().unwrap());
        let plain: [u8; BLOCK_BYTES] = std::array::from_fn(|index| index as u8);
        let mut block = plain;
        xts.encrypt(0xff, &mut block);
        let expected = "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b";
        assert_eq!(hex::encode(&block[..32]), expected);
        assert_ne!(block[4080..], plain[4080..]);
        xts.decrypt(0xff, &mut block);
        assert!(block == plain);
        xts.decrypt(0xfe, &mut block);
        assert!(block != plain);
    }
}
