//! Who has a key in the emulated hardware's hierarchy, and which; all follow from the published
//! root key.

use std::str::FromStr as _;

use p256::ecdsa::{SigningKey, VerifyingKey};
use p256::pkcs8::DecodePrivateKey as _;
use sha2::{Digest, Sha256};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;

use super::machine::Machine;

/// The worthless key, published on purpose.
const ROOT_KEY_PEM: &str = include_str!("../../root/danger-emulated-root.key.pem");
/// Domain of the derivation of all other keys.
const DERIVATION_LABEL: &[u8] = b"dstyx emulated TDX key 1";

/// Whose certificate it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// The trust anchor.
    Root,
    /// Issues PCK certificates.
    PlatformCa,
    /// The provisioning certification key of an emulated machine.
    Pck(Machine),
    /// Signs TCB info and QE identity.
    TcbSigner,
    /// Signs a machine's quotes; has no certificate, the quoting enclave's report vouches for it.
    AttestationKey(Machine),
    /// Another root, for lies.
    ForeignRoot,
}

impl Holder {
    /// Common name; dcap-qvl and others tell the PCK's issuer by the word "Platform".
    fn common_name(self) -> &'static str {
        match self {
            Self::Root => "DANGER dstyx EMULATED root, proves nothing",
            Self::PlatformCa => "DANGER dstyx EMULATED PCK Platform CA, proves nothing",
            Self::Pck(_) => "DANGER dstyx EMULATED PCK Certificate, proves nothing",
            Self::TcbSigner => "DANGER dstyx EMULATED TCB Signing, proves nothing",
            Self::AttestationKey(_) => "DANGER dstyx EMULATED attestation key, proves nothing",
            Self::ForeignRoot => "DANGER dstyx EMULATED foreign root, proves nothing",
        }
    }

    /// Subject name.
    pub(super) fn name(self) -> Name {
        let escaped = self.common_name().replace(',', "\\,");
        Name::from_str(&format!("CN={escaped},O=dstyx emulator"))
            .expect("the names are constants and well formed")
    }

    /// Whether it issues certificates.
    pub(super) fn is_authority(self) -> bool {
        matches!(self, Self::Root | Self::PlatformCa | Self::ForeignRoot)
    }

    /// Its key: the root's from its file, another from a hash over the root's.
    pub fn key(self) -> SigningKey {
        let root = SigningKey::from_pkcs8_pem(ROOT_KEY_PEM).expect("the checked-in key is PKCS #8");
        if self == Self::Root {
            return root;
        }
        let scalar = Sha256::new()
            .chain_update(DERIVATION_LABEL)
            .chain_update(root.to_bytes())
            .chain_update(self.common_name())
            .chain_update(self.machine().seed())
            .finalize();
        SigningKey::from_bytes(&scalar).expect("a hash is a scalar but with probability 2^-32")
    }

    /// The machine whose key it is; that of the test vectors where all machines share the key.
    fn machine(self) -> Machine {
        match self {
            Self::Pck(machine) | Self::AttestationKey(machine) => machine,
            _ => Machine::default(),
        }
    }

    /// Twenty bytes that follow from the key.
    pub(super) fn serial_number(self) -> SerialNumber {
        let mut bytes = [0; 20];
        bytes.copy_from_slice(&Sha256::digest(public_point(&self.key()))[..20]);
        // Positive, and not shortened in DER.
        bytes[0] = bytes[0] & 0x7f | 0x40;
        SerialNumber::new(&bytes).expect("twenty bytes are allowed")
    }
}

/// x ‖ y of a key's public half.
pub fn public_point(key: &SigningKey) -> [u8; 64] {
    let point = VerifyingKey::from(key).to_sec1_point(false);
    let mut bytes = [0; 64];
    bytes.copy_from_slice(&point.as_bytes()[1..]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_says_what_it_is_worth() {
        let authorities = [Holder::Root, Holder::PlatformCa, Holder::ForeignRoot];
        let machine = Machine::default();
        let signers = [Holder::Pck(machine), Holder::TcbSigner, Holder::AttestationKey(machine)];
        let holders = authorities.into_iter().chain(signers);
        for holder in holders {
            let name = holder.name().to_string();
            assert!(
                name.contains("DANGER dstyx EMULATED") && name.contains("proves nothing"),
                "{name}"
            );
        }
    }
}
