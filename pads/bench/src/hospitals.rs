//! The paper's workload: nine Pads of three hospitals, with the rows of the Wisconsin table, each
//! under a cap of its share, for one program, whose output is for all three together.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::time::Instant;

use ed25519_dalek::{Signer as _, SigningKey};
use pad_format::cipher::Algorithm;
use pad_format::contents::{Name, Origin, Value};
use pad_format::custodian::Signatures;
use pad_format::enrolment::{Enrolment, SignedEnrolment};
use pad_format::metadata::{ChunkSize, Delegator as NamedDelegator, KeyId, Uri};
use pad_format::reader::SealedPad;
use pad_format::run::{Run, RunId};
use pad_format::sealed::ResultSecret;
use pad_format::{
    Attribute, Contents, Custodian, CustodianId, DataKey, Packing, PadDigest, PadId, PadWriter,
    Policy,
};
use pad_pipeline::delegator::{AuditEntry, Denied, KeyRequest, NewKey, ReleasedKey, Spend};
use pad_pipeline::engines::{PadView, PlainInput};
use pad_pipeline::{Delegator, Runs, Submission};
use pad_rules::{InputRule, OutputRule, OwnerId, ProgramDigest, ProgramRule, Share, SharePolicy};
use protocol::digest::{Ed25519Key, Sha256Digest};
use zeroize::Zeroizing;

use crate::programs;

/// The hospitals, by the numbers of their keys, and the largest shares in percent of their Pads.
const HOSPITALS: [(u8, u64); 3] = [(1, 60), (2, 40), (3, 40)];
/// Pads of all of them.
pub const PADS: usize = 9;
const NOW: u64 = 1_800_000_000;
const DELEGATOR: Sha256Digest = Sha256Digest([0xde; 32]);
const EXPORTER: [u8; 32] = [4; 32];

fn signing_key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn key(number: u8) -> Ed25519Key {
    Ed25519Key(signing_key(number).verifying_key().to_bytes())
}

fn single(number: u8) -> Custodian {
    Custodian::single(key(number))
}

/// Two of the three hospitals.
fn joint() -> Custodian {
    Custodian::joint(HOSPITALS.map(|(number, _)| key(number)).to_vec(), 2).expect("members")
}

/// Who gets what is made of all Pads.
pub fn target() -> CustodianId {
    joint().id()
}

fn sign(numbers: &[u8], message: &[u8]) -> Signatures {
    let mut signatures = Signatures::default();
    for number in numbers {
        signatures.add(key(*number), signing_key(*number).sign(message).to_bytes());
    }
    signatures
}

fn uri() -> Uri {
    Uri::new("https://delegator.example").expect("an address")
}

fn enrolment(custodian: Custodian, numbers: &[u8]) -> SignedEnrolment {
    let secret = ResultSecret::from_bytes(Zeroizing::new([9; 32]));
    let result_key = secret.public();
    let enrolment = Enrolment { custodian, key_provider_id: DELEGATOR, version: 1, result_key };
    let signatures = sign(numbers, &enrolment.signed_bytes());
    enrolment.signed(signatures)
}

/// At most so many percent of the entries of all hospitals, for one program, to all of them.
fn policy(engine: Sha256Digest, program: Sha256Digest, percent: u64) -> Policy {
    let owner = |id: CustodianId| OwnerId(id.0.0);
    let mut among = HOSPITALS.map(|(number, _)| owner(single(number).id())).to_vec();
    among.sort();
    let share = Share { basis_points: percent * 100, attribute: "entries".into(), among };
    let rules = SharePolicy {
        input: vec![InputRule::MaxShare(share), InputRule::PlainInput { max_bytes: 32 }],
        program: vec![ProgramRule::ProgramIn(vec![ProgramDigest(program.0)])],
        output: vec![OutputRule::Custodian(owner(target()))],
    };
    let constraints = rules.to_constraints();
    Policy {
        policy_type: "2f0b1e8c-93a4-4a0e-8f0d-6c1d1f9b7a55".parse().expect("a UUID"),
        engine,
        input_id: Name::new("records").expect("a name"),
        input_constraint: constraints.input,
        program_constraint: constraints.program,
        output_constraint: constraints.output,
    }
}

fn contents(policy: Policy, number: u8, pad_id: &PadId) -> Contents {
    let (name, value) = (Name::new("entries").expect("a name"), Value::Integer(63));
    let custodian = single(number);
    let signatures = sign(&[number], &value.signed_bytes(&name, pad_id, &custodian.id()));
    let attribute = Attribute { name, value, origin: Origin::Custodian(signatures) };
    Contents { policy_version: 1, custodian, policies: vec![policy], attributes: vec![attribute] }
}

/// A sealed Pad and its key.
pub struct Stored {
    /// The Pad.
    pub bytes: Vec<u8>,
    digest: PadDigest,
    key: [u8; 32],
}

impl Stored {
    /// The key again.
    pub fn key(&self) -> DataKey {
        DataKey::from_bytes(Zeroizing::new(self.key))
    }

    fn sealed(&self) -> SealedPad<Cursor<&[u8]>> {
        SealedPad::read(Cursor::new(&self.bytes[..])).expect("a Pad")
    }
}

/// Packs data under a key of its own.
pub fn packed(contents: &Contents, pad_id: PadId, data: &[u8]) -> Stored {
    let key = DataKey::generate().expect("randomness");
    let packing = Packing {
        pad_id,
        delegator: NamedDelegator { key_provider_id: DELEGATOR, uri: uri() },
        algorithm: Algorithm::Aes256Gcm,
        key_id: KeyId::new(b"key").expect("an id"),
        chunk: ChunkSize::default(),
        contents,
    };
    let mut writer = PadWriter::new(Vec::new(), &packing, &key).expect("contents");
    writer.write(data).expect("room");
    let (bytes, digest) = writer.finish().expect("room");
    Stored { bytes, digest, key: *key.as_bytes() }
}

/// All Pads for a program.
pub struct Hospitals {
    /// The Pads.
    pub pads: Vec<Stored>,
    engine: Sha256Digest,
    program: Sha256Digest,
    parties: Vec<SignedEnrolment>,
}

impl Hospitals {
    /// With the engine and the program of these digests.
    pub fn new(engine: Sha256Digest, program: Sha256Digest) -> Self {
        let table = programs::table();
        let rows: Vec<_> = table.lines().collect();
        let pads = rows.chunks(rows.len().div_ceil(PADS)).enumerate().map(|(place, rows)| {
            let (number, percent) = HOSPITALS[place % HOSPITALS.len()];
            let pad_id = PadId::generate().expect("randomness");
            let contents = contents(policy(engine, program, percent), number, &pad_id);
            packed(&contents, pad_id, rows.join("\n").as_bytes())
        });
        let numbers = HOSPITALS.map(|(number, _)| number);
        let mut parties =
            HOSPITALS.map(|(number, _)| enrolment(single(number), &[number])).to_vec();
        parties.push(enrolment(joint(), &numbers));
        Self { pads: pads.collect(), engine, program, parties }
    }

    /// A run on all Pads, which the first hospital signed.
    pub fn submission(&self, runs: &mut Runs) -> Submission<Cursor<&[u8]>> {
        let id = runs.draw(NOW).expect("an id");
        let bytes = target().0.0;
        let plain = PlainInput { digest: Sha256Digest::of(&bytes), bytes: bytes.len() as u64 };
        let run = Run {
            id,
            exporter: EXPORTER,
            program: self.program,
            pads: self.pads.iter().map(|pad| pad.digest).collect(),
            plain_input: Some(plain.digest),
        };
        let (owner, not_after) = (single(1), NOW + 60);
        let signatures = sign(&[1], &run.signed_bytes(&owner.id(), not_after));
        Submission {
            id,
            exporter: EXPORTER,
            now: NOW,
            program: self.program,
            helpers: &[],
            engines: vec![self.engine],
            pads: self.pads.iter().map(Stored::sealed).collect(),
            plain: Some(plain),
            signed: Some(run.signed(owner, not_after, signatures)),
            parties: self.parties.iter().map(|party| (party.clone(), uri())).collect(),
        }
    }

    /// So many Pads as engines see them, of the hospitals in turns.
    pub fn views(&self, count: usize) -> Vec<PadView> {
        let view = |place: usize| {
            let (number, percent) = HOSPITALS[place % HOSPITALS.len()];
            let id = PadId::generate().expect("randomness");
            PadView {
                id,
                digest: PadDigest(Sha256Digest::of(&place.to_le_bytes())),
                custodian: single(number).id(),
                contents: contents(policy(self.engine, self.program, percent), number, &id),
            }
        };
        (0..count).map(view).collect()
    }

    /// The delegator of all of them.
    pub fn keys(&self) -> Keys {
        let keys = self.pads.iter().map(|pad| (pad.digest, pad.key)).collect();
        Keys { keys, audited: None, kept: None }
    }
}

/// Gives keys, takes the rest, and notes when.
pub struct Keys {
    keys: BTreeMap<PadDigest, [u8; 32]>,
    /// When the last entry of the record came.
    pub audited: Option<Instant>,
    /// When the last new key came.
    pub kept: Option<Instant>,
}

impl Delegator for Keys {
    fn keys(&mut self, request: &KeyRequest) -> Result<Vec<ReleasedKey>, Denied> {
        let key = |wanted: &pad_pipeline::delegator::WantedPad| {
            let key = DataKey::from_bytes(Zeroizing::new(self.keys[&wanted.digest]));
            ReleasedKey { key, from: DELEGATOR }
        };
        Ok(request.pads.iter().map(key).collect())
    }

    fn spend(&mut self, _: RunId, _: &[Spend]) -> Result<(), Denied> {
        Ok(())
    }

    fn keep(&mut self, _: &NewKey<'_>) -> Result<(), Denied> {
        self.kept = Some(Instant::now());
        Ok(())
    }

    fn audit(&mut self, _: &AuditEntry) -> Result<(), Denied> {
        self.audited = Some(Instant::now());
        Ok(())
    }
}
