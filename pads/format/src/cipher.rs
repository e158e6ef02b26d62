//! How sections are sealed: an interface, and AES-256-GCM behind it.
//!
//! A key is used for one section of one sealing of one Pad, and its nonces are counted, so no nonce
//! comes twice under it. Another algorithm is another implementation of [`Cipher`] and another
//! number in [`Algorithm`].

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize as _, Zeroizing};

/// Bytes of a section's key.
pub const KEY_BYTES: usize = 32;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;
/// Bytes of the tag at the end of what is sealed.
pub const TAG_BYTES: usize = 16;

/// What was opened is not what was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAuthentic;

/// One key of an authenticated encryption with associated data.
pub trait Cipher: Send + Sync {
    /// Seals `plain` into `sealed`, which is longer by [`TAG_BYTES`].
    fn seal(&self, nonce: [u8; NONCE_BYTES], associated: &[u8], plain: &[u8], sealed: &mut [u8]);

    /// Opens `sealed` into `plain`, which is shorter by [`TAG_BYTES`].
    ///
    /// # Errors
    /// If it was not sealed under this key, nonce and associated data; `plain` is all zero then.
    fn open(
        &self,
        nonce: [u8; NONCE_BYTES],
        associated: &[u8],
        sealed: &[u8],
        plain: &mut [u8],
    ) -> Result<(), NotAuthentic>;
}

/// The algorithms that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// AES-256 in Galois/Counter Mode (NIST SP 800-38D), tags of 16 bytes.
    Aes256Gcm,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::Aes256Gcm];

    /// Its number in a Pad.
    pub fn number(self) -> u64 {
        match self {
            Self::Aes256Gcm => 1,
        }
    }

    /// The algorithm of this number.
    pub fn of_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.number() == number)
    }

    /// Its name, which is part of the context of each key.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
        }
    }

    pub(crate) fn cipher(self, key: &Zeroizing<[u8; KEY_BYTES]>) -> Box<dyn Cipher> {
        match self {
            Self::Aes256Gcm => Box::new(Aes256Gcm::new(key)),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// AES-256-GCM by aws-lc, which clears its copy of the key.
struct Aes256Gcm(LessSafeKey);

impl Aes256Gcm {
    fn new(key: &Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, &key[..]);
        Self(LessSafeKey::new(key.expect("a key of AES-256 has 32 bytes")))
    }
}

impl Cipher for Aes256Gcm {
    fn seal(&self, nonce: [u8; NONCE_BYTES], associated: &[u8], plain: &[u8], sealed: &mut [u8]) {
        let (text, tag) = sealed.split_at_mut(plain.len());
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0
            .seal_out_of_place_scatter(nonce, Aad::from(associated), plain, text, &[], tag)
            .expect("a section is far below the 64 GiB that one nonce seals");
    }

    fn open(
        &self,
        nonce: [u8; NONCE_BYTES],
        associated: &[u8],
        sealed: &[u8],
        plain: &mut [u8],
    ) -> Result<(), NotAuthentic> {
        let split = sealed.len().checked_sub(TAG_BYTES);
        let (text, tag) = sealed.split_at(split.ok_or(NotAuthentic)?);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = self.0.open_separate_gather(nonce, Aad::from(associated), text, tag, plain);
        opened.map_err(|_| {
            // The library leaves open what it wrote before it knew the tag to be wrong.
            plain.zeroize();
            NotAuthentic
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// McGrew and Viega's test case 16, whose nonce is of 12 bytes, as NIST has it.
    #[test]
    fn the_published_test_case_of_aes_256_gcm() {
        let bytes = |text: &str| hex::decode(text).unwrap();
        let key = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
        let plain = bytes(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e24\
             49a6b525b16aedf5aa0de657ba637b39",
        );
        let associated = bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let nonce = bytes("cafebabefacedbaddecaf888").try_into().unwrap();
        let expected = bytes(
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b10\
             56828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b",
        );
        let key = Zeroizing::new(bytes(key).try_into().unwrap());
        let cipher = Algorithm::Aes256Gcm.cipher(&key);
        let mut sealed = vec![0; plain.len() + TAG_BYTES];
        cipher.seal(nonce, &associated, &plain, &mut sealed);
        assert_eq!(sealed, expected);
        let mut opened = vec![0; plain.len()];
        assert_eq!(cipher.open(nonce, &associated, &sealed, &mut opened), Ok(()));
        assert_eq!(opened, plain);
    }

    #[test]
    fn nothing_is_left_of_what_does_not_open() {
        let cipher = Algorithm::Aes256Gcm.cipher(&Zeroizing::new([7; KEY_BYTES]));
        let mut sealed = [0; 100 + TAG_BYTES];
        cipher.seal([1; NONCE_BYTES], b"about", &[0x5a; 100], &mut sealed);
        for at in [0, 99, 100, 115] {
            let mut changed = sealed;
            changed[at] ^= 1;
            let mut plain = [0xee; 100];
            let refused = cipher.open([1; NONCE_BYTES], b"about", &changed, &mut plain);
            assert_eq!((refused, plain), (Err(NotAuthentic), [0; 100]), "{at}");
        }
        let mut plain = [0xee; 100];
        assert!(cipher.open([2; NONCE_BYTES], b"about", &sealed, &mut plain).is_err());
        assert!(cipher.open([1; NONCE_BYTES], b"other", &sealed, &mut plain).is_err());
        assert!(cipher.open([1; NONCE_BYTES], b"about", &sealed[..15], &mut []).is_err());
    }
}
