//! What is sealed before the data: policies and attributes, which engines see without any data.

use pad_cbor::{CborError, Kind, Reader, Writer, read_whole};
use protocol::digest::Sha256Digest;

use crate::custodian::{
    Custodian, CustodianError, CustodianId, SignatureError, Signatures, labelled,
};
use crate::metadata::Metadata;
use crate::uuid::{PadId, Uuid, UuidError};

/// Largest contents: every Pad of a data set is checked with those of all others in memory.
pub const MAX_CONTENTS_BYTES: usize = 256 * 1024;
/// Most policies of one Pad: each is an engine that runs at every check.
pub const MAX_POLICIES: usize = 16;
/// Most attributes of one Pad.
pub const MAX_ATTRIBUTES: usize = 64;
/// Largest constraint: a list of some hundred programs and owners.
pub const MAX_CONSTRAINT_BYTES: usize = 32 * 1024;
/// Longest name of an attribute or an input.
pub const MAX_NAME_BYTES: usize = 64;
/// Largest value of an attribute that is a text or bytes.
pub const MAX_VALUE_BYTES: usize = 4096;
/// First bytes of what a custodian signs of an attribute.
const ATTRIBUTE_LABEL: &[u8] = b"dstyx pad attribute 1";
/// First bytes of what the digest of policies is of.
const POLICIES_LABEL: &[u8] = b"dstyx pad policies 1";

/// Policies and attributes of a Pad. They are sealed and have no `Debug`, so that no log has them.
#[derive(Clone, PartialEq, Eq)]
pub struct Contents {
    /// Counted from 1: owners who agree on other policies raise it.
    pub policy_version: u64,
    /// Who owns the Pad; the metadata has the id alone.
    pub custodian: Custodian,
    /// All of them have to agree.
    pub policies: Vec<Policy>,
    /// In ascending order of their names.
    pub attributes: Vec<Attribute>,
}

/// One policy: an engine, and what it is given.
#[derive(Clone, PartialEq, Eq)]
pub struct Policy {
    /// Which kind of policy it is, for people.
    pub policy_type: Uuid,
    /// SHA-256 of the engine, which alone decides what runs.
    pub engine: Sha256Digest,
    /// By which name constraints speak of this Pad.
    pub input_id: Name,
    /// What the engine makes of it is its own; the same for the two others.
    pub input_constraint: Vec<u8>,
    /// About the program that reads.
    pub program_constraint: Vec<u8>,
    /// About what the program gives back.
    pub output_constraint: Vec<u8>,
}

/// A fact about the data.
#[derive(Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: Name,
    /// Its value.
    pub value: Value,
    /// Whose statement it is.
    pub origin: Origin,
}

/// The value of an attribute; none is ever made of another type.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Integer(u64),
    /// A text.
    Text(String),
    /// Anything else.
    Bytes(Vec<u8>),
}

/// Whose statement an attribute is.
#[derive(Clone, PartialEq, Eq)]
pub enum Origin {
    /// Its custodian's. Contents that were parsed have valid signatures of enough members.
    Custodian(Signatures),
    /// That of the program with this SHA-256, which made the Pad.
    Program(Sha256Digest),
}

/// A name: a letter, and behind it letters, digits, `.`, `_` and `-`; all in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// Why something is no contents of a Pad.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentsError {
    /// more than the budget
    #[error("policies and attributes have {0} bytes, at most {MAX_CONTENTS_BYTES} are accepted")]
    TooLarge(usize),
    /// not the encoding of contents
    #[error("policies and attributes: {0}")]
    Cbor(#[from] CborError),
    /// a custodian that cannot be
    #[error("policies and attributes: {0}")]
    Custodian(#[from] CustodianError),
    /// another custodian than that of the metadata
    #[error("the metadata names the custodian {expected}, the policies are of {found}")]
    OtherCustodian {
        /// Whose they are.
        found: CustodianId,
        /// Whose they have to be.
        expected: CustodianId,
    },
    /// a type of policy that is no UUID
    #[error("a policy: {0}")]
    PolicyType(#[from] UuidError),
    /// a name that is none
    #[error(
        "a name is 1 to {MAX_NAME_BYTES} of a-z 0-9 . _ - and begins with a letter, found {0:?}"
    )]
    Name(String),
    /// too few or too many
    #[error("{found} {what}, {least} to {most} are accepted")]
    Count {
        /// What of.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// The least legal number.
        least: usize,
        /// The greatest legal number.
        most: usize,
    },
    /// attributes out of order, or one of them twice
    #[error("the attribute {0} is out of order or there twice")]
    Order(String),
    /// an attribute that its custodian did not sign
    #[error("the attribute {name}: {source}")]
    Signature {
        /// Its name.
        name: String,
        /// What is wrong.
        source: SignatureError,
    },
}

impl Contents {
    /// Reads the contents of the Pad with this metadata, and verifies who stated the attributes.
    ///
    /// # Errors
    /// If the bytes are not the one encoding of contents, or not of this Pad and custodian.
    pub fn parse(bytes: &[u8], metadata: &Metadata) -> Result<Self, ContentsError> {
        if bytes.len() > MAX_CONTENTS_BYTES {
            return Err(ContentsError::TooLarge(bytes.len()));
        }
        let contents = read_whole(bytes, Self::read)?;
        contents.check(metadata)?;
        Ok(contents)
    }

    /// The bytes that [`Self::parse`] reads for the Pad with this metadata.
    ///
    /// # Errors
    /// If it would refuse them.
    pub fn to_bytes(&self, metadata: &Metadata) -> Result<Vec<u8>, ContentsError> {
        let mut writer = Writer::new();
        self.write(&mut writer);
        let bytes = writer.finish();
        // All rules are the reader's.
        Self::parse(&bytes, metadata)?;
        Ok(bytes)
    }

    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name.0 == name)
    }

    /// What owners who agree on policies sign the digest of.
    pub fn policies_digest(&self) -> Sha256Digest {
        let mut writer = Writer::new();
        self.write_policies(&mut writer);
        Sha256Digest::of(&labelled(POLICIES_LABEL, &writer.finish()))
    }

    fn check(&self, metadata: &Metadata) -> Result<(), ContentsError> {
        let (found, expected) = (self.custodian.id(), metadata.custodian);
        if found != expected {
            return Err(ContentsError::OtherCustodian { found, expected });
        }
        let pair = self.attributes.windows(2).find(|pair| pair[0].name >= pair[1].name);
        if let Some(pair) = pair {
            return Err(ContentsError::Order(pair[1].name.0.clone()));
        }
        for Attribute { name, value, origin } in &self.attributes {
            let Origin::Custodian(signatures) = origin else { continue };
            let message = value.signed_bytes(name, &metadata.pad_id, &found);
            signatures
                .verify(&self.custodian, &message)
                .map_err(|source| ContentsError::Signature { name: name.0.clone(), source })?;
        }
        Ok(())
    }

    /// Appends `{1: policy version, 2: custodian, 3: policies, 4: attributes}`.
    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.map(4).uint(1).uint(self.policy_version).uint(2);
        self.custodian.write(writer);
        writer.uint(3);
        self.write_policies(writer);
        writer.uint(4).array(self.attributes.len());
        self.attributes.iter().for_each(|attribute| attribute.write(writer));
    }

    fn write_policies(&self, writer: &mut Writer) {
        writer.array(self.policies.len());
        self.policies.iter().for_each(|policy| policy.write(writer));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, ContentsError> {
        let mut map = reader.map("contents")?;
        map.required(reader, 1)?;
        let policy_version = reader.uint("policy version", 1..=u64::MAX)?;
        map.required(reader, 2)?;
        let custodian = Custodian::read(reader)?;
        map.required(reader, 3)?;
        let count = reader.array("policies", 1..=MAX_POLICIES)?;
        let policies = (0..count).map(|_| Policy::read(reader)).collect::<Result<_, _>>()?;
        map.required(reader, 4)?;
        let count = reader.array("attributes", 0..=MAX_ATTRIBUTES)?;
        let attributes = (0..count).map(|_| Attribute::read(reader)).collect::<Result<_, _>>()?;
        map.end(reader)?;
        Ok(Self { policy_version, custodian, policies, attributes })
    }
}

impl Policy {
    /// Reads a policy that stands alone, in a file or in a program.
    ///
    /// # Errors
    /// If the bytes are not the one encoding of a policy.
    pub fn parse(bytes: &[u8]) -> Result<Self, ContentsError> {
        read_whole(bytes, Self::read)
    }

    /// The bytes that [`Self::parse`] reads.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        self.write(&mut writer);
        writer.finish()
    }

    /// Appends `{1: type, 2: engine, 3: input id, 4: input, 5: program, 6: output}`.
    fn write(&self, writer: &mut Writer) {
        writer.map(6).uint(1).bytes(self.policy_type.as_bytes());
        writer.uint(2).bytes(&self.engine.0).uint(3).text(&self.input_id.0);
        writer.uint(4).bytes(&self.input_constraint);
        writer.uint(5).bytes(&self.program_constraint);
        writer.uint(6).bytes(&self.output_constraint);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, ContentsError> {
        let mut map = reader.map("policy")?;
        map.required(reader, 1)?;
        let policy_type = Uuid::from_bytes(reader.fixed("policy type")?)?;
        map.required(reader, 2)?;
        let engine = Sha256Digest(reader.fixed("engine")?);
        map.required(reader, 3)?;
        let input_id = Name::read(reader, "input id")?;
        let mut constraint = |key, field| {
            map.required(reader, key)?;
            reader.bytes(field, 0..=MAX_CONSTRAINT_BYTES).map(<[u8]>::to_vec)
        };
        let input_constraint = constraint(4, "input constraint")?;
        let program_constraint = constraint(5, "program constraint")?;
        let output_constraint = constraint(6, "output constraint")?;
        map.end(reader)?;
        Ok(Self {
            policy_type,
            engine,
            input_id,
            input_constraint,
            program_constraint,
            output_constraint,
        })
    }
}

impl Attribute {
    /// Appends `{1: name, 2: value, 3: signatures}`, or 4 and the program's digest in place of 3.
    fn write(&self, writer: &mut Writer) {
        writer.map(3).uint(1).text(&self.name.0).uint(2);
        self.value.write(writer);
        match &self.origin {
            Origin::Custodian(signatures) => signatures.write(writer.uint(3)),
            Origin::Program(program) => {
                writer.uint(4).bytes(&program.0);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, ContentsError> {
        let mut map = reader.map("attribute")?;
        map.required(reader, 1)?;
        let name = Name::read(reader, "attribute: name")?;
        map.required(reader, 2)?;
        let value = Value::read(reader)?;
        let origin = if map.optional(reader, 3)? {
            let signatures = Signatures::read(reader);
            Origin::Custodian(
                signatures
                    .map_err(|source| ContentsError::Signature { name: name.0.clone(), source })?,
            )
        } else {
            map.required(reader, 4)?;
            Origin::Program(Sha256Digest(reader.fixed("attribute: program")?))
        };
        map.end(reader)?;
        Ok(Self { name, value, origin })
    }
}

impl Value {
    /// What members of the custodian sign, so that an attribute is one of this Pad alone.
    pub fn signed_bytes(&self, name: &Name, pad_id: &PadId, custodian: &CustodianId) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.array(4).bytes(pad_id.uuid().as_bytes()).bytes(&custodian.0.0).text(&name.0);
        self.write(&mut writer);
        labelled(ATTRIBUTE_LABEL, &writer.finish())
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Integer(number) => writer.uint(*number),
            Self::Text(text) => writer.text(text),
            Self::Bytes(bytes) => writer.bytes(bytes),
        };
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        let field = "attribute: value";
        Ok(match reader.kind(field)? {
            Kind::Text => Self::Text(reader.text(field, 0..=MAX_VALUE_BYTES)?.to_owned()),
            Kind::Bytes => Self::Bytes(reader.bytes(field, 0..=MAX_VALUE_BYTES)?.to_vec()),
            _ => Self::Integer(reader.uint(field, 0..=u64::MAX)?),
        })
    }
}

impl Name {
    /// Takes a name.
    ///
    /// # Errors
    /// If it is empty, too long, or has other characters.
    pub fn new(text: &str) -> Result<Self, ContentsError> {
        let legal = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        let begins = text.starts_with(|letter: char| letter.is_ascii_lowercase());
        if begins && text.len() <= MAX_NAME_BYTES && text.bytes().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ContentsError::Name(text.chars().take(MAX_NAME_BYTES).collect()))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn read(reader: &mut Reader<'_>, field: &'static str) -> Result<Self, ContentsError> {
        Self::new(reader.text(field, 1..=MAX_NAME_BYTES)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::custodian::SIGNATURE_BYTES;
    use crate::fixtures::{self, key, sign};

    fn refused(contents: &Contents) -> ContentsError {
        contents.to_bytes(&fixtures::metadata()).err().unwrap()
    }

    #[test]
    fn contents_have_one_encoding() {
        let (contents, metadata) = (fixtures::contents(), fixtures::metadata());
        let bytes = contents.to_bytes(&metadata).unwrap();
        assert!(Contents::parse(&bytes, &metadata).is_ok_and(|read| read == contents));
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(Contents::parse(&longer, &metadata).is_err());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            // What is still contents is written back as it was read.
            if let Ok(read) = Contents::parse(&changed, &metadata) {
                assert_eq!(read.to_bytes(&metadata), Ok(changed), "{at}");
            }
            assert!(Contents::parse(&bytes[..at], &metadata).is_err(), "{at}");
        }
    }

    #[test]
    fn an_attribute_counts_as_the_custodian_s_by_its_signatures_over_this_pad_alone() {
        let good = fixtures::contents();
        let signed = |contents: &mut Contents, numbers: &[u8], pad_id| {
            let Attribute { name, value, origin } = &mut contents.attributes[0];
            let message = value.signed_bytes(name, pad_id, &fixtures::joint().id());
            *origin = Origin::Custodian(sign(numbers, &message));
        };
        let pad_id = fixtures::metadata().pad_id;
        let mut fewer = good.clone();
        signed(&mut fewer, &[2], &pad_id);
        let mut others = good.clone();
        signed(&mut others, &[8, 9], &pad_id);
        let mut copied = good.clone();
        signed(&mut copied, &[1, 2], &PadId::generate().unwrap());
        let mut raised = good.clone();
        raised.attributes[0].value = Value::Integer(1_000_000);
        let mut renamed = good.clone();
        renamed.attributes[0].name = Name::new("entriez").unwrap();
        let mut retyped = good.clone();
        retyped.attributes[0].value = Value::Text("100".into());
        for contents in [fewer, others, copied, raised, renamed, retyped] {
            assert!(matches!(refused(&contents), ContentsError::Signature { .. }));
        }
    }

    #[test]
    fn a_policy_that_stands_alone_has_one_encoding() {
        let policy = &fixtures::contents().policies[0];
        let bytes = policy.to_bytes();
        assert!(Policy::parse(&bytes).is_ok_and(|read| read == *policy));
        assert!(Policy::parse(&[bytes.as_slice(), &[0]].concat()).is_err());
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let read = Policy::parse(&changed);
            assert!(read.is_err() || read.is_ok_and(|read| read.to_bytes() == changed), "{at}");
            assert!(Policy::parse(&bytes[..at]).is_err(), "{at}");
        }
    }

    #[test]
    fn policies_of_another_custodian_are_refused() {
        let mut contents = fixtures::contents();
        contents.custodian = Custodian::single(key(9));
        assert!(matches!(refused(&contents), ContentsError::OtherCustodian { .. }));
    }

    #[test]
    fn attributes_are_in_order_and_there_once() {
        let mut contents = fixtures::contents();
        contents.attributes.swap(0, 1);
        assert_eq!(refused(&contents), ContentsError::Order("entries".into()));
        let mut contents = fixtures::contents();
        let twice = contents.attributes[1].clone();
        contents.attributes.push(twice);
        assert_eq!(refused(&contents), ContentsError::Order("made-by".into()));
    }

    #[test]
    fn budgets_and_names_are_kept() {
        let mut contents = fixtures::contents();
        contents.policies.clear();
        assert!(matches!(refused(&contents), ContentsError::Cbor(CborError::Range { .. })));
        let mut contents = fixtures::contents();
        contents.policies[0].input_constraint = vec![0; MAX_CONSTRAINT_BYTES + 1];
        assert!(matches!(refused(&contents), ContentsError::Cbor(CborError::Range { .. })));
        let mut contents = fixtures::contents();
        contents.policies[0].input_constraint = vec![0; MAX_CONSTRAINT_BYTES];
        contents.policies = vec![contents.policies[0].clone(); MAX_POLICIES];
        assert!(matches!(refused(&contents), ContentsError::TooLarge(_)));
        let mut contents = fixtures::contents();
        contents.policy_version = 0;
        assert!(matches!(refused(&contents), ContentsError::Cbor(CborError::Range { .. })));
        for name in ["", "Entries", "1st", "a b", "ä", "a;b", &"x".repeat(65)] {
            assert!(matches!(Name::new(name), Err(ContentsError::Name(_))), "{name:?}");
        }
        assert_eq!(SIGNATURE_BYTES, 64);
    }

    #[test]
    fn the_digest_of_policies_is_of_each_of_their_fields() {
        let good = fixtures::contents();
        let changes: [fn(&mut Policy); 6] = [
            |policy| policy.policy_type = "919108f7-52d1-4320-9bac-f847db4148a9".parse().unwrap(),
            |policy| policy.engine.0[0] ^= 1,
            |policy| policy.input_id = Name::new("other").unwrap(),
            |policy| policy.input_constraint.push(0),
            |policy| policy.program_constraint.push(0),
            |policy| policy.output_constraint.push(0),
        ];
        for change in changes {
            let mut contents = good.clone();
            change(&mut contents.policies[0]);
            assert_ne!(contents.policies_digest(), good.policies_digest());
        }
    }
}
