//! The measurement registers of one emulated TD.

use sha2::{Digest, Sha384};

/// Bytes of a register.
pub const REGISTER_BYTES: usize = 48;
/// Bytes of all eight, as they travel to the guest.
pub const ENCODED_BYTES: usize = 8 * REGISTER_BYTES;

/// One register's value, or a digest that extends it: SHA-384, 48 bytes.
pub type Register = [u8; REGISTER_BYTES];

/// All registers; they live as long as the virtual machine does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registers {
    /// Measurement of the initial contents.
    pub mrtd: Register,
    /// RTMR0 to RTMR3.
    pub rtmrs: [Register; 4],
    /// Bound by the host at creation.
    pub mrconfigid: Register,
    /// Bound by the host at creation; always zero here.
    pub mrowner: Register,
    /// Bound by the host at creation; always zero here.
    pub mrownerconfig: Register,
}

/// Registers that a guest may extend. RTMR0 and RTMR1 are the firmware's; Linux offers them too,
/// but nothing in a dstyx guest does so.
pub const EXTENDABLE: [u8; 2] = [2, 3];

impl Registers {
    /// A TD as created: RTMRs zero.
    pub fn new(mrtd: Register, mrconfigid: Register) -> Self {
        let zero = [0; REGISTER_BYTES];
        Self { mrtd, rtmrs: [zero; 4], mrconfigid, mrowner: zero, mrownerconfig: zero }
    }

    /// Extends RTMR `index` (0 to 3) by `digest` and returns its new value: SHA-384(register ‖
    /// digest).
    pub fn extend(&mut self, index: usize, digest: &Register) -> Register {
        let register = &mut self.rtmrs[index];
        *register = Sha384::new().chain_update(*register).chain_update(digest).finalize().into();
        *register
    }

    /// MRTD, RTMR0 to RTMR3, MRCONFIGID, MROWNER, MROWNERCONFIG, one behind the other.
    pub fn encode(&self) -> Vec<u8> {
        let [rtmr0, rtmr1, rtmr2, rtmr3] = self.rtmrs;
        [self.mrtd, rtmr0, rtmr1, rtmr2, rtmr3, self.mrconfigid, self.mrowner, self.mrownerconfig]
            .concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extending_hashes_old_value_and_digest() {
        let mut registers = Registers::new([1; 48], [2; 48]);
        let once = registers.extend(3, &[7; 48]);
        let expected: Register = Sha384::digest([[0_u8; 48], [7; 48]].concat()).into();
        assert_eq!((once, registers.rtmrs[3]), (expected, expected));
        assert_ne!(registers.extend(3, &[7; 48]), expected);
        assert_eq!(registers.encode().len(), ENCODED_BYTES);
        assert_eq!(registers.encode()[..48], [1; 48]);
    }
}
