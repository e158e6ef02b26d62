//! dstack's envelope, as its SDKs' `encryptEnvVars` writes it: an ephemeral X25519 key, an IV, and
//! AES-256-GCM under the raw shared secret.
//!
//! It names neither an app version nor a sender and can be replayed: a guest takes it only where
//! its measured file says so.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead as _, KeyInit as _};
use curve25519_dalek::MontgomeryPoint;
use protocol::environment::{MAX_BYTES, TAG_BYTES};
use protocol::reader::Reader;
use zeroize::Zeroizing;

use crate::{OpenError, Variables};

/// Bytes of the IV.
const IV_BYTES: usize = 12;
/// An envelope around nothing.
pub(crate) const LEAST_BYTES: usize = 32 + IV_BYTES + TAG_BYTES;

/// Opens dstack's envelope with the app's secret.
///
/// # Errors
/// If it does not open, or holds no environment.
pub fn open_dstack(bytes: &[u8], secret: &[u8; 32]) -> Result<Variables, OpenError> {
    if !(LEAST_BYTES..=MAX_BYTES).contains(&bytes.len()) {
        return Err(OpenError::Length { found: bytes.len() });
    }
    let mut reader = Reader::new(bytes);
    let short = |_| OpenError::Length { found: bytes.len() };
    let ephemeral = MontgomeryPoint(reader.array("ephemeral key").map_err(short)?);
    let iv: [u8; IV_BYTES] = reader.array("iv").map_err(short)?;
    let shared = Zeroizing::new(ephemeral.mul_clamped(*secret).to_bytes());
    // A point of low order: the key would be known to everybody.
    if *shared == [0; 32] {
        return Err(OpenError::Sealed);
    }
    let cipher = Aes256Gcm::new((&*shared).into());
    let content = cipher.decrypt(&iv.into(), reader.rest()).map_err(|_| OpenError::Sealed)?;
    Ok(Variables::parse_dstack(&Zeroizing::new(content))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by dstack's SDK: tests/vectors/environment/README.md.
    fn envelope() -> Vec<u8> {
        hex::decode(include_str!("../../tests/vectors/environment/dstack.hex").trim()).unwrap()
    }

    #[test]
    fn what_dstack_s_sdk_sealed_opens() {
        let variables = open_dstack(&envelope(), &[0x42; 32]).unwrap();
        let found: Vec<_> = variables.iter().collect();
        assert_eq!(found, [("A", "\\"), ("DB_PASSWORD", "pass word"), ("TEXT", "two\nlines ü")]);
    }

    #[test]
    fn another_key_a_change_or_a_cut_opens_nothing() {
        let good = envelope();
        assert_eq!(open_dstack(&good, &[0x43; 32]), Err(OpenError::Sealed));
        for at in [0, 32, 44, good.len() - 1] {
            let mut changed = good.clone();
            changed[at] ^= 1;
            assert_eq!(open_dstack(&changed, &[0x42; 32]), Err(OpenError::Sealed), "{at}");
        }
        let cut = open_dstack(&good[..good.len() - 1], &[0x42; 32]);
        assert_eq!(cut, Err(OpenError::Sealed));
        let short = open_dstack(&good[..LEAST_BYTES - 1], &[0x42; 32]);
        assert_eq!(short, Err(OpenError::Length { found: LEAST_BYTES - 1 }));
        let known = [&[0; 32][..], &good[32..]].concat();
        assert_eq!(open_dstack(&known, &[0x42; 32]), Err(OpenError::Sealed));
    }

    #[test]
    fn the_two_forms_are_not_taken_for_each_other() {
        let ours = include_bytes!("../../tests/vectors/environment/sealed.bin");
        assert_eq!(open_dstack(ours, &[0x42; 32]), Err(OpenError::Sealed));
    }
}
