//! Each rule of the key delegator by itself, and the ledger of all.

mod custodians;
mod keep;
mod ledger;
mod release;
mod spend;

use ed25519_dalek::{Signer as _, SigningKey};
use pad_format::custodian::Signatures;
use pad_format::enrolment::{ResultKey, SignedEnrolment};
use pad_format::grant::{Grant, Revocation, Statement as _};
use pad_format::metadata::KeyId;
use pad_format::uuid::{PadId, Uuid};
use pad_format::{Custodian, DataKey};
use protocol::kms::{EnrolRequest, FetchKeysRequest, PadKeyName};
use zeroize::Zeroizing;

use super::*;
use crate::fixtures::{APP, FILES, IMAGES, Kms, MEMBER, NOW, cluster, guest, policy_file, strange};
use crate::ledger::Entry;
use crate::policy::PolicyFile;

/// The engine that custodians grant their keys to.
const ENGINE: Sha256Digest = Sha256Digest([0xe1; 32]);

fn key(number: u8) -> Ed25519Key {
    Ed25519Key(SigningKey::from_bytes(&[number; 32]).verifying_key().to_bytes())
}

fn sign(members: &[u8], message: &[u8]) -> Signatures {
    let mut signatures = Signatures::default();
    for member in members {
        let signature = SigningKey::from_bytes(&[*member; 32]).sign(message).to_bytes();
        signatures.add(key(*member), signature);
    }
    signatures
}

/// Custodian A, whose member is the key 1.
fn a() -> Custodian {
    Custodian::single(key(1))
}

/// Custodian D: two of the keys 1, 2 and 3.
fn d() -> Custodian {
    Custodian::joint(vec![key(1), key(2), key(3)], 2).unwrap()
}

/// What enough members of A or D sign with.
fn signers(custodian: &Custodian) -> &'static [u8] {
    if *custodian == d() { &[1, 2] } else { &[1] }
}

fn signed_enrolment(
    custodian: &Custodian,
    signers: &[u8],
    change: impl Fn(&mut Enrolment),
) -> SignedEnrolment {
    let (custodian, key_provider_id) = (custodian.clone(), cluster().id());
    let mut enrolment =
        Enrolment { custodian, key_provider_id, version: 1, result_key: ResultKey([9; 32]) };
    change(&mut enrolment);
    let signatures = sign(signers, &enrolment.signed_bytes());
    enrolment.signed(signatures)
}

fn enrolment(custodian: &Custodian, version: u64) -> EnrolRequest {
    let signed = signed_enrolment(custodian, signers(custodian), |e| e.version = version);
    EnrolRequest { custodian: custodian.id().0.0.to_vec(), enrolment: signed.to_bytes() }
}

fn data_key(number: u8) -> DataKey {
    DataKey::from_bytes(Zeroizing::new([number; 32]))
}

fn sealed(number: u8) -> SealedKey {
    SealedKey { digest: data_key(number).digest(), sealed: vec![number; 80] }
}

/// The key of the Pad with this number.
fn name(custodian: &Custodian, number: u8) -> KeyName {
    let mut uuid = [number; 16];
    (uuid[6], uuid[8]) = (0x40, 0x80);
    let pad_id = PadId::new(Uuid::from_bytes(uuid).unwrap()).unwrap();
    let key_id = KeyId::new(&[b'k', number]).unwrap();
    KeyName { custodian: custodian.id(), key_id, pad_id }
}

fn named(name: &KeyName) -> PadKeyName {
    PadKeyName {
        custodian: name.custodian.0.0.to_vec(),
        key_id: name.key_id.as_bytes().to_vec(),
        pad_id: name.pad_id.uuid().as_bytes().to_vec(),
    }
}

/// What [`guest`] meets with the engine [`ENGINE`].
fn conditions() -> Conditions {
    Conditions {
        os_images: vec![IMAGES[0]],
        apps: vec![(APP, FILES[0])],
        engines: vec![ENGINE],
        ..Conditions::default()
    }
}

fn grant(custodian: &Custodian, number: u8) -> Grant {
    Grant {
        name: name(custodian, number),
        key_provider_id: cluster().id(),
        version: 1,
        digest: data_key(number).digest(),
        conditions: conditions(),
    }
}

fn signed_by(grant: &Grant, signers: &[u8]) -> Vec<u8> {
    grant.clone().signed(sign(signers, &grant.signed_bytes())).to_bytes()
}

fn revocation(custodian: &Custodian, number: u8) -> Vec<u8> {
    let (name, key_provider_id) = (name(custodian, number), cluster().id());
    let revocation = Revocation { name, key_provider_id };
    let signatures = sign(signers(custodian), &revocation.signed_bytes());
    revocation.signed(signatures).to_bytes()
}

/// The middleware: a guest while its app runs.
fn middleware() -> Guest {
    Guest { ready: true, ..guest() }
}

fn fetching(names: &[KeyName], call: u8) -> FetchKeysRequest {
    FetchKeysRequest {
        request_id: vec![call; 16],
        pads: names.iter().map(named).collect(),
        engines: vec![ENGINE.0.to_vec()],
        program: vec![0x99; 32],
        owner: vec![0x55; 32],
    }
}

/// The policy with the keys 1 to 3.
fn policy() -> PolicyFile {
    PolicyFile { pad_custodians: vec![key(1), key(2), key(3)], ..policy_file(1) }
}

/// A KMS whose policy names the keys 1 to 3, with the custodians A and D.
fn delegator() -> Kms {
    let mut kms = Kms::with_policy(&policy());
    for custodian in [a(), d()] {
        kms.enrols(&enrolment(&custodian, 1)).unwrap();
    }
    kms
}

/// The same with the keys of the Pads 1 of A and 2 of D.
fn stocked() -> Kms {
    let mut kms = delegator();
    for (custodian, number) in [(a(), 1), (d(), 2)] {
        kms.pushes(&grant(&custodian, number)).unwrap();
    }
    kms
}

impl Kms {
    /// Appends what was decided; whether there was an entry.
    fn decided(&mut self, entry: Result<Option<Entry>, Refused>) -> Result<bool, Refused> {
        let entry = entry?;
        let some = entry.is_some();
        entry.into_iter().for_each(|entry| self.append(entry));
        Ok(some)
    }

    fn enrols(&mut self, request: &EnrolRequest) -> Result<bool, Refused> {
        self.decided(enrol(&self.state, &key(1), &MEMBER, request, NOW))
    }

    fn pushes(&mut self, grant: &Grant) -> Result<bool, Refused> {
        let custodian = if grant.name.custodian == d().id() { d() } else { a() };
        let number = grant.name.key_id.as_bytes()[1];
        self.pushes_signed(&signed_by(grant, signers(&custodian)), Some(&sealed(number)))
    }

    fn pushes_signed(&mut self, bytes: &[u8], came: Option<&SealedKey>) -> Result<bool, Refused> {
        self.decided(push_key(&self.state, &key(1), &MEMBER, (bytes, came), NOW))
    }

    fn revokes(&mut self, bytes: &[u8]) -> Result<bool, Refused> {
        self.decided(revoke_key(&self.state, &key(1), &MEMBER, bytes, NOW))
    }

    fn fetches(&mut self, guest: &Guest, request: &FetchKeysRequest) -> Result<bool, Refused> {
        self.decided(release_pad_keys(&self.state, guest, &MEMBER, request, NOW))
    }

    /// Grants the Pad 1 of A under other conditions.
    fn grants(&mut self, version: u64, change: impl Fn(&mut Conditions)) {
        let mut grant = Grant { version, ..grant(&a(), 1) };
        change(&mut grant.conditions);
        assert!(self.pushes(&grant).unwrap());
    }
}

/// The code with which something was refused.
#[track_caller]
fn code<T: std::fmt::Debug>(outcome: Result<T, Refused>) -> &'static str {
    match outcome {
        Err(Refused::Pads(refused)) => {
            assert!(!refused.hint().is_empty());
            refused.code()
        }
        other => panic!("{other:?}"),
    }
}
