//! Values that tests start from.

use ed25519_dalek::{Signer as _, SigningKey};
use protocol::digest::{Ed25519Key, Sha256Digest};
use zeroize::Zeroizing;

use crate::cipher::Algorithm;
use crate::contents::{Attribute, Contents, Name, Origin, Policy, Value};
use crate::custodian::{Custodian, Signatures};
use crate::keys::DataKey;
use crate::layout::PadDigest;
use crate::metadata::{ChunkSize, CryptoInfo, Delegator, KeyId, Metadata, Salt, Uri};
use crate::run::{Run, RunId, SignedRun};
use crate::uuid::PadId;
use crate::writer::{Packing, PadWriter};

pub fn signing_key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

pub fn key(number: u8) -> Ed25519Key {
    Ed25519Key(signing_key(number).verifying_key().to_bytes())
}

/// Signatures of the keys with these numbers.
pub fn sign(numbers: &[u8], message: &[u8]) -> Signatures {
    let mut signatures = Signatures::default();
    for &number in numbers {
        signatures.add(key(number), signing_key(number).sign(message).to_bytes());
    }
    signatures
}

/// Two of the keys 1, 2 and 3.
pub fn joint() -> Custodian {
    Custodian::joint(vec![key(1), key(2), key(3)], 2).unwrap()
}

pub fn pad_id() -> PadId {
    PadId::new("919108f7-52d1-4320-9bac-f847db4148a8".parse().unwrap()).unwrap()
}

pub fn data_key() -> DataKey {
    DataKey::from_bytes(Zeroizing::new([0x42; 32]))
}

pub fn metadata() -> Metadata {
    let contents = contents();
    let packing = packing(&contents);
    Metadata {
        pad_id: packing.pad_id,
        custodian: contents.custodian.id(),
        delegator: packing.delegator,
        crypto: CryptoInfo {
            algorithm: packing.algorithm,
            key_id: packing.key_id,
            salt: Salt([0x5a; 32]),
            chunk: packing.chunk,
        },
    }
}

pub fn contents() -> Contents {
    let custodian = joint();
    let (name, value) = (Name::new("entries").unwrap(), Value::Integer(100));
    let message = value.signed_bytes(&name, &pad_id(), &custodian.id());
    let entries = Attribute { name, value, origin: Origin::Custodian(sign(&[1, 2], &message)) };
    let made_by = Attribute {
        name: Name::new("made-by").unwrap(),
        value: Value::Text("trainer".into()),
        origin: Origin::Program(Sha256Digest([0xbb; 32])),
    };
    let policy = Policy {
        policy_type: "2f0b1e8c-93a4-4a0e-8f0d-6c1d1f9b7a55".parse().unwrap(),
        engine: Sha256Digest([0xee; 32]),
        input_id: Name::new("records").unwrap(),
        input_constraint: vec![0xa1, 0x01, 0x18, 0x3c],
        program_constraint: vec![0x80],
        output_constraint: vec![],
    };
    Contents {
        policy_version: 1,
        custodian,
        policies: vec![policy],
        attributes: vec![entries, made_by],
    }
}

pub fn packing(contents: &Contents) -> Packing<'_> {
    Packing {
        pad_id: pad_id(),
        delegator: Delegator {
            key_provider_id: Sha256Digest([0xde; 32]),
            uri: Uri::new("https://delegator.example:8443").unwrap(),
        },
        algorithm: Algorithm::Aes256Gcm,
        key_id: KeyId::new(b"key-1").unwrap(),
        chunk: ChunkSize::of_log2(8).unwrap(),
        contents,
    }
}

/// A writer whose Pads are the same each time.
pub fn writer(out: Vec<u8>) -> PadWriter<Vec<u8>> {
    writer_of(out, &contents(), &data_key())
}

pub fn writer_of(out: Vec<u8>, contents: &Contents, key: &DataKey) -> PadWriter<Vec<u8>> {
    let salt = metadata().crypto.salt;
    PadWriter::danger_with_salt(out, &packing(contents), key, salt).unwrap()
}

/// A Pad of these data, in chunks of 256 bytes.
pub fn packed(data: &[u8]) -> Vec<u8> {
    let mut writer = writer(Vec::new());
    writer.write(data).unwrap();
    writer.finish().unwrap().0
}

pub fn run() -> Run {
    Run {
        id: RunId([3; 16]),
        exporter: [4; 32],
        program: Sha256Digest([5; 32]),
        pads: vec![PadDigest(Sha256Digest([6; 32])), PadDigest(Sha256Digest([7; 32]))],
        plain_input: Some(Sha256Digest([8; 32])),
    }
}

pub fn signed_run(owner: &Custodian, signers: &[u8], not_after: u64) -> SignedRun {
    let signatures = sign(signers, &run().signed_bytes(&owner.id(), not_after));
    run().signed(owner.clone(), not_after, signatures)
}
