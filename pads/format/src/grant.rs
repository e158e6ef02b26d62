//! What a custodian says of a data key that its delegator keeps: under which conditions it is
//! released, and that it is released no more.
//!
//! A grant has the digest of the key in place of the key, so that members can sign it apart from
//! each other, whoever has the key, and everybody can verify it.

use std::fmt;

use pad_cbor::{CborError, Reader, Writer, read_whole};
use protocol::digest::{AppId, ComposeHash, OsImageHash, Sha256Digest};
use protocol::rule::unless;

use crate::custodian::{Custodian, CustodianId, SignatureError, Signatures, labelled};
use crate::metadata::{KeyId, MAX_KEY_ID_BYTES, MetadataError};
use crate::uuid::{PadId, Uuid, UuidError};

/// Most images, apps or engines of one grant.
pub const MAX_LIST: usize = 64;
/// Largest signed grant or revocation: the longest lists, and signatures of the most members.
pub const MAX_BYTES: usize = 20 * 1024;
/// First bytes of what is signed of a grant.
const GRANT_LABEL: &[u8] = b"dstyx pad grant 1";
/// The same of a revocation.
const REVOCATION_LABEL: &[u8] = b"dstyx pad revocation 1";

/// Which key it is: a custodian's own name for it, and the Pad that it opens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName {
    /// Whose it is.
    pub custodian: CustodianId,
    /// What the Pad's metadata calls it.
    pub key_id: KeyId,
    /// The Pad.
    pub pad_id: PadId,
}

/// The middleware in which a key may be used. An empty list is met by nobody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conditions {
    /// Images of the guest, ascending.
    pub os_images: Vec<OsImageHash>,
    /// Apps of the guest with their measured files, ascending.
    pub apps: Vec<(AppId, ComposeHash)>,
    /// Every engine of a run has to be one of these, ascending.
    pub engines: Vec<Sha256Digest>,
    /// Whether the guest's containers may depart from the default confinement, so that they can
    /// take the key.
    pub danger_privileged: bool,
    /// How often the key is released; without it as often as it is asked for.
    pub releases: Option<u64>,
    /// Last second of its release, since 1970; without it there is none.
    pub not_after_secs: Option<u64>,
}

/// A custodian's word on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The key.
    pub name: KeyName,
    /// The delegator that keeps it.
    pub key_provider_id: Sha256Digest,
    /// Counted from 1: a later grant of the key replaces an earlier one.
    pub version: u64,
    /// [`crate::DataKey::digest`] of the key.
    pub digest: Sha256Digest,
    /// When it is released.
    pub conditions: Conditions,
}

/// A custodian's word that a key is released no more, for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The key.
    pub name: KeyName,
    /// The delegator that keeps it.
    pub key_provider_id: Sha256Digest,
}

/// A statement with signatures that are not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed<T> {
    statement: T,
    signatures: Signatures,
}

/// A statement that enough members of its custodian signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

/// What a custodian signs of a key.
pub trait Statement: Sized {
    /// First bytes of what is signed.
    const LABEL: &'static [u8];
    /// Its name in errors.
    const NAME: &'static str;

    /// The key that it is about.
    fn name(&self) -> &KeyName;

    /// Appends its one encoding.
    fn write(&self, writer: &mut Writer);

    /// Reads it.
    ///
    /// # Errors
    /// If the bytes are not its encoding.
    fn read(reader: &mut Reader<'_>) -> Result<Self, GrantError>;

    /// What members of the custodian sign.
    fn signed_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        self.write(&mut writer);
        labelled(Self::LABEL, &writer.finish())
    }

    /// Joins the statement and signatures over [`Self::signed_bytes`].
    fn signed(self, signatures: Signatures) -> Signed<Self> {
        Signed { statement: self, signatures }
    }
}

/// Why something is no statement about a key, or not its custodian's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// more than the budget
    #[error("{0} bytes, at most {MAX_BYTES} are accepted")]
    TooLarge(usize),
    /// not the encoding of one
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// an id that is none
    #[error(transparent)]
    PadId(#[from] UuidError),
    /// a key id that is none
    #[error(transparent)]
    KeyId(#[from] MetadataError),
    /// a list out of order, or with something twice
    #[error("{0}: the list is not in ascending order without repetition")]
    Order(&'static str),
    /// another custodian's
    #[error("it is of the custodian {found}, and {expected} is asked for")]
    Other {
        /// Whose it is.
        found: CustodianId,
        /// Whose it has to be.
        expected: CustodianId,
    },
    /// not signed by the custodian
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

impl KeyName {
    /// Appends `[custodian, key id, Pad]`.
    fn write(&self, writer: &mut Writer) {
        writer.array(3).bytes(&self.custodian.0.0).bytes(self.key_id.as_bytes());
        writer.bytes(self.pad_id.uuid().as_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, GrantError> {
        reader.array("key", 3..=3)?;
        let custodian = CustodianId(Sha256Digest(reader.fixed("key: custodian")?));
        let key_id = KeyId::new(reader.bytes("key: id", 1..=MAX_KEY_ID_BYTES)?)?;
        let pad_id = PadId::new(Uuid::from_bytes(reader.fixed("key: Pad")?)?)?;
        Ok(Self { custodian, key_id, pad_id })
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { custodian, key_id, pad_id } = self;
        write!(f, "key {} of Pad {pad_id} of {custodian}", hex::encode(key_id.as_bytes()))
    }
}

impl Conditions {
    /// Reads the one encoding of conditions.
    ///
    /// # Errors
    /// If the bytes are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, GrantError> {
        if bytes.len() > MAX_BYTES {
            return Err(GrantError::TooLarge(bytes.len()));
        }
        read_whole(bytes, Self::read)
    }

    /// The bytes that [`Self::parse`] reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        self.write(&mut writer);
        writer.finish()
    }

    /// What meets both, but for the number of releases, which is each key's own.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        fn both<T: Clone + PartialEq>(own: &[T], others: &[T]) -> Vec<T> {
            own.iter().filter(|item| others.contains(item)).cloned().collect()
        }
        Self {
            os_images: both(&self.os_images, &other.os_images),
            apps: both(&self.apps, &other.apps),
            engines: both(&self.engines, &other.engines),
            danger_privileged: self.danger_privileged && other.danger_privileged,
            releases: None,
            not_after_secs: self.not_after_secs.into_iter().chain(other.not_after_secs).min(),
        }
    }

    /// Appends `{1: [image, …], 2: [[app, file], …], 3: [engine, …], 4: danger_privileged,
    /// 5: releases, 6: last second}`, of which the last two may be missing.
    fn write(&self, writer: &mut Writer) {
        let limits = [self.releases, self.not_after_secs];
        writer.map(4 + limits.iter().flatten().count()).uint(1).array(self.os_images.len());
        for image in &self.os_images {
            writer.bytes(&image.0);
        }
        writer.uint(2).array(self.apps.len());
        for (app, file) in &self.apps {
            writer.array(2).bytes(&app.0).bytes(&file.0);
        }
        writer.uint(3).array(self.engines.len());
        for engine in &self.engines {
            writer.bytes(&engine.0);
        }
        writer.uint(4).bool(self.danger_privileged);
        for (key, limit) in (5..).zip(limits) {
            if let Some(limit) = limit {
                writer.uint(key).uint(limit);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, GrantError> {
        let mut map = reader.map("conditions")?;
        map.required(reader, 1)?;
        let image = |reader: &mut Reader<'_>| Ok(OsImageHash(reader.fixed("conditions: image")?));
        let os_images = list(reader, "conditions: images", image)?;
        map.required(reader, 2)?;
        let apps = list(reader, "conditions: apps", |reader| {
            reader.array("conditions: app", 2..=2)?;
            let app = AppId(reader.fixed("conditions: app id")?);
            Ok((app, ComposeHash(reader.fixed("conditions: measured file")?)))
        })?;
        map.required(reader, 3)?;
        let engine =
            |reader: &mut Reader<'_>| Ok(Sha256Digest(reader.fixed("conditions: engine")?));
        let engines = list(reader, "conditions: engines", engine)?;
        map.required(reader, 4)?;
        let danger_privileged = reader.bool("conditions: danger_privileged")?;
        let releases = map.optional(reader, 5)?;
        let releases =
            releases.then(|| reader.uint("conditions: releases", 1..=u64::MAX)).transpose()?;
        let limited = map.optional(reader, 6)?;
        let not_after_secs =
            limited.then(|| reader.uint("conditions: last second", 1..=u64::MAX)).transpose()?;
        map.end(reader)?;
        Ok(Self { os_images, apps, engines, danger_privileged, releases, not_after_secs })
    }
}

fn list<T: Ord>(
    reader: &mut Reader<'_>,
    name: &'static str,
    item: impl Fn(&mut Reader<'_>) -> Result<T, CborError>,
) -> Result<Vec<T>, GrantError> {
    let mut items = Vec::new();
    for _ in 0..reader.array(name, 0..=MAX_LIST)? {
        let next = item(reader)?;
        unless(items.last().is_none_or(|last| *last < next), || GrantError::Order(name))?;
        items.push(next);
    }
    Ok(items)
}

impl Statement for Grant {
    const LABEL: &'static [u8] = GRANT_LABEL;
    const NAME: &'static str = "grant";

    fn name(&self) -> &KeyName {
        &self.name
    }

    /// Appends `{1: key, 2: key_provider_id, 3: version, 4: digest of the key, 5: conditions}`.
    fn write(&self, writer: &mut Writer) {
        writer.map(5).uint(1);
        self.name.write(writer);
        writer.uint(2).bytes(&self.key_provider_id.0).uint(3).uint(self.version);
        writer.uint(4).bytes(&self.digest.0).uint(5);
        self.conditions.write(writer);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, GrantError> {
        let mut map = reader.map("grant")?;
        map.required(reader, 1)?;
        let name = KeyName::read(reader)?;
        map.required(reader, 2)?;
        let key_provider_id = Sha256Digest(reader.fixed("grant: key_provider_id")?);
        map.required(reader, 3)?;
        let version = reader.uint("grant: version", 1..=u64::MAX)?;
        map.required(reader, 4)?;
        let digest = Sha256Digest(reader.fixed("grant: digest")?);
        map.required(reader, 5)?;
        let conditions = Conditions::read(reader)?;
        map.end(reader)?;
        Ok(Self { name, key_provider_id, version, digest, conditions })
    }
}

impl Statement for Revocation {
    const LABEL: &'static [u8] = REVOCATION_LABEL;
    const NAME: &'static str = "revocation";

    fn name(&self) -> &KeyName {
        &self.name
    }

    /// Appends `{1: key, 2: key_provider_id}`.
    fn write(&self, writer: &mut Writer) {
        writer.map(2).uint(1);
        self.name.write(writer);
        writer.uint(2).bytes(&self.key_provider_id.0);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, GrantError> {
        let mut map = reader.map("revocation")?;
        map.required(reader, 1)?;
        let name = KeyName::read(reader)?;
        map.required(reader, 2)?;
        let key_provider_id = Sha256Digest(reader.fixed("revocation: key_provider_id")?);
        map.end(reader)?;
        Ok(Self { name, key_provider_id })
    }
}

impl<T: Statement> Signed<T> {
    /// Reads `{1: statement, 2: signatures}`.
    ///
    /// # Errors
    /// If the bytes are not its encoding.
    pub fn parse(bytes: &[u8]) -> Result<Self, GrantError> {
        if bytes.len() > MAX_BYTES {
            return Err(GrantError::TooLarge(bytes.len()));
        }
        read_whole(bytes, |reader| {
            let mut map = reader.map(T::NAME)?;
            map.required(reader, 1)?;
            let statement = T::read(reader)?;
            map.required(reader, 2)?;
            let signatures = Signatures::read(reader)?;
            map.end(reader)?;
            Ok(Self { statement, signatures })
        })
    }

    /// The bytes that [`Self::parse`] reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.map(2).uint(1);
        self.statement.write(&mut writer);
        writer.uint(2);
        self.signatures.write(&mut writer);
        writer.finish()
    }

    /// What it says, which counts for nothing before [`Self::verify`].
    pub fn claimed(&self) -> &T {
        &self.statement
    }

    /// Adds the signatures of others over the same statement; those over another are no signatures
    /// of this one.
    pub fn join(&mut self, others: &Signatures) {
        self.signatures.join(others);
    }

    /// The signatures that it has.
    pub fn signatures(&self) -> &Signatures {
        &self.signatures
    }

    /// Accepts the statement of this custodian.
    ///
    /// # Errors
    /// If it is another's, or too few of its members signed.
    pub fn verify(self, custodian: &Custodian) -> Result<Verified<T>, GrantError> {
        let (found, expected) = (self.statement.name().custodian, custodian.id());
        unless(found == expected, || GrantError::Other { found, expected })?;
        self.signatures.verify(custodian, &self.statement.signed_bytes())?;
        Ok(Verified(self.statement))
    }
}

impl<T> Verified<T> {
    /// What the custodian stated.
    pub fn statement(&self) -> &T {
        &self.0
    }

    /// The same, for whoever keeps it.
    pub fn into_statement(self) -> T {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{data_key, joint, key, pad_id, sign};

    fn conditions() -> Conditions {
        Conditions {
            os_images: vec![OsImageHash([1; 32]), OsImageHash([2; 32])],
            apps: vec![(AppId([3; 20]), ComposeHash([4; 32]))],
            engines: vec![Sha256Digest([5; 32])],
            danger_privileged: false,
            releases: Some(10),
            not_after_secs: Some(2_000_000_000),
        }
    }

    fn grant() -> Grant {
        let key_id = KeyId::new(b"key-1").unwrap();
        let name = KeyName { custodian: joint().id(), key_id, pad_id: pad_id() };
        let (key_provider_id, digest) = (Sha256Digest([0xde; 32]), data_key().digest());
        Grant { name, key_provider_id, version: 1, digest, conditions: conditions() }
    }

    fn signed() -> Signed<Grant> {
        let grant = grant();
        let signatures = sign(&[1, 2], &grant.signed_bytes());
        grant.signed(signatures)
    }

    fn revocation() -> Signed<Revocation> {
        let Grant { name, key_provider_id, .. } = grant();
        let revocation = Revocation { name, key_provider_id };
        let signatures = sign(&[2, 3], &revocation.signed_bytes());
        revocation.signed(signatures)
    }

    #[test]
    fn a_grant_is_its_custodian_s_word_and_no_revocation() {
        let read = Signed::<Grant>::parse(&signed().to_bytes()).unwrap();
        assert_eq!(read, signed());
        assert_eq!(*read.verify(&joint()).unwrap().statement(), grant());
        let read = Signed::<Revocation>::parse(&revocation().to_bytes()).unwrap();
        assert_eq!(read.verify(&joint()).unwrap().statement().name, grant().name);
        assert!(Signed::<Revocation>::parse(&signed().to_bytes()).is_err());
        let other = Custodian::single(key(9));
        let refused = GrantError::Other { found: joint().id(), expected: other.id() };
        assert_eq!(signed().verify(&other), Err(refused));
        let one = grant();
        let signatures = sign(&[1], &one.signed_bytes());
        let refused = one.signed(signatures).verify(&joint());
        assert!(matches!(refused, Err(GrantError::Signature(SignatureError::TooFew { .. }))));
    }

    #[test]
    fn members_sign_apart_from_each_other() {
        let [one, two] = [1, 2].map(|member| {
            let grant = grant();
            let signatures = sign(&[member], &grant.signed_bytes());
            grant.signed(signatures)
        });
        let mut joined = one;
        assert!(joined.clone().verify(&joint()).is_err());
        joined.join(two.signatures());
        assert_eq!(joined, signed());
    }

    #[test]
    fn every_changed_byte_is_refused() {
        for good in [signed().to_bytes(), revocation().to_bytes()] {
            for at in 0..good.len() {
                let mut changed = good.clone();
                changed[at] ^= 1;
                let granted = Signed::<Grant>::parse(&changed);
                assert!(granted.and_then(|read| read.verify(&joint())).is_err(), "{at}");
                let revoked = Signed::<Revocation>::parse(&changed);
                assert!(revoked.and_then(|read| read.verify(&joint())).is_err(), "{at}");
            }
            assert!(Signed::<Grant>::parse(&[good.as_slice(), &[0]].concat()).is_err());
        }
        let large = Signed::<Grant>::parse(&vec![0; MAX_BYTES + 1]);
        assert_eq!(large, Err(GrantError::TooLarge(MAX_BYTES + 1)));
    }

    #[test]
    fn conditions_have_one_encoding_and_the_longest_fit() {
        for conditions in [conditions(), Conditions::default()] {
            assert_eq!(Conditions::parse(&conditions.to_bytes()), Ok(conditions));
        }
        let mut twice = conditions();
        twice.os_images = vec![OsImageHash([2; 32]), OsImageHash([2; 32])];
        let refused = Conditions::parse(&twice.to_bytes());
        assert_eq!(refused, Err(GrantError::Order("conditions: images")));
        let mut never = conditions();
        never.releases = Some(0);
        assert!(Conditions::parse(&never.to_bytes()).is_err());
        let bytes = |number: usize| [u8::try_from(number).unwrap(); 32];
        let most = Conditions {
            os_images: (0..MAX_LIST).map(|number| OsImageHash(bytes(number))).collect(),
            apps: (0..MAX_LIST)
                .map(|number| (AppId([0; 20]), ComposeHash(bytes(number))))
                .collect(),
            engines: (0..MAX_LIST).map(|number| Sha256Digest(bytes(number))).collect(),
            ..conditions()
        };
        assert!(most.to_bytes().len() + 64 * 100 < MAX_BYTES);
        assert_eq!(Conditions::parse(&most.to_bytes()), Ok(most));
    }

    #[test]
    fn what_meets_both_conditions_is_in_each_list_and_ends_with_the_first() {
        let own = conditions();
        let other = Conditions {
            os_images: vec![OsImageHash([2; 32]), OsImageHash([9; 32])],
            apps: vec![
                (AppId([3; 20]), ComposeHash([4; 32])),
                (AppId([9; 20]), ComposeHash([4; 32])),
            ],
            engines: vec![Sha256Digest([6; 32])],
            danger_privileged: true,
            releases: Some(1),
            not_after_secs: Some(7),
        };
        let expected = Conditions {
            os_images: vec![OsImageHash([2; 32])],
            apps: own.apps.clone(),
            engines: Vec::new(),
            danger_privileged: false,
            releases: None,
            not_after_secs: Some(7),
        };
        assert_eq!((own.and(&other), other.and(&own)), (expected.clone(), expected));
        let endless = Conditions { not_after_secs: None, ..own.clone() };
        assert_eq!(own.and(&endless).not_after_secs, own.not_after_secs);
        let privileged = Conditions { danger_privileged: true, ..own };
        assert!(privileged.and(&privileged).danger_privileged);
    }
}
