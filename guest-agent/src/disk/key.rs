//! The key of the data disk: drawn here or released by the KMS, wiped when it was given to the
//! kernel, never shown.

use std::io;

use zeroize::Zeroizing;

/// AES-256 twice, as XTS wants it.
const KEY_BYTES: usize = 64;
/// What device-mapper is told of the cipher: each sector's number, little-endian, is its tweak.
const CIPHER: &[u8] = b"aes-xts-plain64 ";
/// Sectors of 4 KiB, numbered as such: an eighth of the work of small ones, and blocks of both file
/// systems are no smaller. No discards: which blocks are free is nobody's business outside.
const OPTIONS: &str = "2 sector_size:4096 iv_large_sectors";

/// A key that no other disk has. It has no `Debug`.
pub struct Key(Zeroizing<[u8; KEY_BYTES]>);

impl Key {
    /// From the kernel's generator, which the CPU's has seeded.
    pub fn random() -> io::Result<Self> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(key.as_mut_slice()).map_err(io::Error::other)?;
        Ok(Self(key))
    }

    /// The one that the KMS released for this instance's disk.
    pub fn released(key: &Zeroizing<[u8; KEY_BYTES]>) -> Self {
        Self(key.clone())
    }

    /// Writes the parameters of a `crypt` target over all of `node`, with a zero behind them; the
    /// rest of `to` stays. The key is spelled out in place, so that there is no other copy of it.
    pub fn write_table(&self, node: &str, to: &mut [u8]) -> Result<(), TableError> {
        let behind = format!(" 0 {node} 0 {OPTIONS}\0");
        let (cipher, rest) = to.split_at_mut_checked(CIPHER.len()).ok_or(TableError)?;
        let (digits, rest) = rest.split_at_mut_checked(2 * KEY_BYTES).ok_or(TableError)?;
        cipher.copy_from_slice(CIPHER);
        hex::encode_to_slice(*self.0, digits).map_err(|_| TableError)?;
        rest.get_mut(..behind.len()).ok_or(TableError)?.copy_from_slice(behind.as_bytes());
        Ok(())
    }
}

/// a table that does not fit
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the table of the data disk does not fit into a request: the name of its node is too long")]
pub struct TableError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_exactly_this() {
        let key = Key(Zeroizing::new(std::array::from_fn(|index| index as u8)));
        let mut table = [0xEE; 512];
        key.write_table("/dev/vdc", &mut table).unwrap();
        let end = table.iter().position(|byte| *byte == 0).unwrap();
        let digits: String = (0..64).map(|byte| format!("{byte:02x}")).collect();
        let expected =
            format!("aes-xts-plain64 {digits} 0 /dev/vdc 0 2 sector_size:4096 iv_large_sectors");
        assert_eq!(std::str::from_utf8(&table[..end]).unwrap(), expected);
        assert_eq!(table[end + 1], 0xEE);
    }

    #[test]
    fn keys_differ_and_a_long_name_is_refused() {
        let [one, other] = [Key::random().unwrap(), Key::random().unwrap()];
        assert_ne!(*one.0, *other.0);
        assert!(one.0.iter().any(|byte| *byte != 0));
        assert_eq!(one.write_table(&"x".repeat(512), &mut [0; 512]), Err(TableError));
    }
}
