//! The enrolment of a custodian: its own statement of who keeps its keys.
//!
//! A Pad names the address of a key delegator, which whoever carries the Pad can change. What
//! counts is the delegator's `key_provider_id` in the statement that the custodian signed. It also
//! has the key that results in plain are sealed to when the custodian runs a program.

use pad_cbor::{CborError, Reader, Writer, read_whole};
use protocol::digest::{Ed25519Key, Sha256Digest};

use crate::custodian::{
    Custodian, CustodianError, CustodianId, SIGNATURE_BYTES, SignatureError, Signatures, labelled,
};

/// First bytes of what is signed.
const LABEL: &[u8] = b"dstyx pad enrolment 1";
/// Largest signed enrolment: the keys and signatures of the most members.
pub const MAX_BYTES: usize = 16 * 1024;

/// A public key of X25519, to which results are sealed by HPKE (RFC 9180).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultKey(pub [u8; 32]);

/// What a custodian states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// The custodian.
    pub custodian: Custodian,
    /// The key delegator, by what a KMS is known by.
    pub key_provider_id: Sha256Digest,
    /// Counted from 1: a later statement replaces an earlier one.
    pub version: u64,
    /// The key for results in plain.
    pub result_key: ResultKey,
}

/// An enrolment with signatures that are not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedEnrolment {
    enrolment: Enrolment,
    signatures: Signatures,
}

/// An enrolment that enough members of the custodian signed. Who they are is in its id, so it is
/// true of that id, whoever handed it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedEnrolment(Enrolment);

/// Why something is no enrolment, or not of this custodian.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnrolmentError {
    /// more than the budget
    #[error("{0} bytes, at most {MAX_BYTES} are accepted")]
    TooLarge(usize),
    /// not the encoding of one
    #[error("the enrolment: {0}")]
    Cbor(#[from] CborError),
    /// a custodian that cannot be
    #[error("the enrolment: {0}")]
    Custodian(#[from] CustodianError),
    /// not signed by the custodian
    #[error("the enrolment: {0}")]
    Signature(#[from] SignatureError),
    /// another custodian's
    #[error("the enrolment is of {found}, and {expected} is asked for")]
    Other {
        /// Whose it is.
        found: CustodianId,
        /// Whose it has to be.
        expected: CustodianId,
    },
}

impl Enrolment {
    /// What members of the custodian sign.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        self.write(&mut writer);
        labelled(LABEL, &writer.finish())
    }

    /// Joins the statement and signatures over [`Self::signed_bytes`].
    #[must_use]
    pub fn signed(self, signatures: Signatures) -> SignedEnrolment {
        SignedEnrolment { enrolment: self, signatures }
    }

    /// Appends `{1: custodian, 2: key_provider_id, 3: version, 4: key for results}`.
    fn write(&self, writer: &mut Writer) {
        writer.map(4).uint(1);
        self.custodian.write(writer);
        writer.uint(2).bytes(&self.key_provider_id.0).uint(3).uint(self.version);
        writer.uint(4).bytes(&self.result_key.0);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EnrolmentError> {
        let mut map = reader.map("enrolment")?;
        map.required(reader, 1)?;
        let custodian = Custodian::read(reader)?;
        map.required(reader, 2)?;
        let key_provider_id = Sha256Digest(reader.fixed("enrolment: key_provider_id")?);
        map.required(reader, 3)?;
        let version = reader.uint("enrolment: version", 1..=u64::MAX)?;
        map.required(reader, 4)?;
        let result_key = ResultKey(reader.fixed("enrolment: key for results")?);
        map.end(reader)?;
        Ok(Self { custodian, key_provider_id, version, result_key })
    }
}

impl SignedEnrolment {
    /// Reads `{1: enrolment, 2: signatures}`.
    ///
    /// # Errors
    /// If the bytes are not its encoding.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnrolmentError> {
        if bytes.len() > MAX_BYTES {
            return Err(EnrolmentError::TooLarge(bytes.len()));
        }
        read_whole(bytes, Self::read)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EnrolmentError> {
        let mut map = reader.map("signed enrolment")?;
        map.required(reader, 1)?;
        let enrolment = Enrolment::read(reader)?;
        map.required(reader, 2)?;
        let signatures = Signatures::read(reader)?;
        map.end(reader)?;
        Ok(Self { enrolment, signatures })
    }

    /// The bytes that [`Self::parse`] reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.map(2).uint(1);
        self.enrolment.write(&mut writer);
        writer.uint(2);
        self.signatures.write(&mut writer);
        writer.finish()
    }

    /// What it says, which counts for nothing before [`Self::verify`].
    pub fn claimed(&self) -> &Enrolment {
        &self.enrolment
    }

    /// Adds a member's signature over the enrolment's [`Enrolment::signed_bytes`].
    pub fn add(&mut self, signer: Ed25519Key, signature: [u8; SIGNATURE_BYTES]) {
        self.signatures.add(signer, signature);
    }

    /// Accepts the enrolment of the custodian with this id.
    ///
    /// # Errors
    /// If it is another's, or too few of its members signed.
    pub fn verify(self, expected: &CustodianId) -> Result<VerifiedEnrolment, EnrolmentError> {
        let found = self.enrolment.custodian.id();
        if found != *expected {
            return Err(EnrolmentError::Other { found, expected: *expected });
        }
        self.signatures.verify(&self.enrolment.custodian, &self.enrolment.signed_bytes())?;
        Ok(VerifiedEnrolment(self.enrolment))
    }
}

impl VerifiedEnrolment {
    /// What the custodian stated.
    pub fn enrolment(&self) -> &Enrolment {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::Signer as _;

    use super::*;
    use crate::fixtures::{joint, key, sign, signing_key};

    fn enrolment() -> Enrolment {
        let result_key = ResultKey([9; 32]);
        Enrolment {
            custodian: joint(),
            key_provider_id: Sha256Digest([7; 32]),
            version: 1,
            result_key,
        }
    }

    fn signed() -> SignedEnrolment {
        let enrolment = enrolment();
        let signatures = sign(&[1, 3], &enrolment.signed_bytes());
        enrolment.signed(signatures)
    }

    #[test]
    fn the_delegator_is_the_one_that_the_custodian_signed() {
        let read = SignedEnrolment::parse(&signed().to_bytes()).unwrap();
        assert_eq!(read, signed());
        assert_eq!(*read.verify(&joint().id()).unwrap().enrolment(), enrolment());
        let changes: [fn(&mut Enrolment); 3] = [
            |enrolment| enrolment.key_provider_id = Sha256Digest([8; 32]),
            |enrolment| enrolment.version = 2,
            |enrolment| enrolment.result_key = ResultKey([8; 32]),
        ];
        for change in changes {
            let mut moved = signed();
            change(&mut moved.enrolment);
            let refused = moved.verify(&joint().id());
            assert!(matches!(refused, Err(EnrolmentError::Signature(SignatureError::Wrong(_)))));
        }
    }

    #[test]
    fn members_sign_one_after_another() {
        let message = enrolment().signed_bytes();
        let mut waiting = enrolment().signed(Signatures::default());
        for (number, is_enough) in [(3, false), (1, true)] {
            waiting.add(key(number), signing_key(number).sign(&message).to_bytes());
            assert_eq!(waiting.clone().verify(&joint().id()).is_ok(), is_enough);
            waiting = SignedEnrolment::parse(&waiting.to_bytes()).unwrap();
        }
        assert_eq!(*waiting.claimed(), enrolment());
    }

    #[test]
    fn a_custodian_of_the_attacker_s_is_another_one() {
        let custodian = Custodian::single(key(9));
        let enrolment = Enrolment { custodian: custodian.clone(), ..enrolment() };
        let signatures = sign(&[9], &enrolment.signed_bytes());
        let signed = enrolment.signed(signatures);
        let refused = EnrolmentError::Other { found: custodian.id(), expected: joint().id() };
        assert_eq!(signed.verify(&joint().id()), Err(refused));
    }

    #[test]
    fn every_changed_byte_is_refused() {
        let good = signed().to_bytes();
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 1;
            let read = SignedEnrolment::parse(&changed);
            assert!(read.and_then(|read| read.verify(&joint().id())).is_err(), "{at}");
        }
        assert!(SignedEnrolment::parse(&[good.as_slice(), &[0]].concat()).is_err());
        assert!(SignedEnrolment::parse(&good[..good.len() - 1]).is_err());
        let large = SignedEnrolment::parse(&vec![0; MAX_BYTES + 1]);
        assert_eq!(large, Err(EnrolmentError::TooLarge(MAX_BYTES + 1)));
    }
}
