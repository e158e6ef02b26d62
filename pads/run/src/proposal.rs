//! What a program proposes to give away, apart from the data.

use protocol::reader::Reader;

use crate::MAX_PROPOSAL_BYTES;
use crate::fault::FrameError;

/// Policies of one output.
const MAX_POLICIES: usize = 64;
/// Attributes of one output.
const MAX_ATTRIBUTES: usize = 256;
/// Bytes of an attribute's name.
const MAX_NAME_BYTES: usize = 255;
/// Bytes of a constraint or an attribute's value.
const MAX_VALUE_BYTES: usize = 64 << 10;

/// A policy as a program writes it: no engine has read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// SHA-256 of the component that decides.
    pub engine: [u8; 32],
    /// The policy's type, for people.
    pub policy_type: [u8; 16],
    /// The input that it is about.
    pub input_id: [u8; 16],
    /// What may be computed on together with it.
    pub input_constraint: Vec<u8>,
    /// Which programs may compute on it.
    pub program_constraint: Vec<u8>,
    /// What may be derived from it.
    pub output_constraint: Vec<u8>,
}

/// A named value that is sealed with the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Vec<u8>,
}

/// An output without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// SHA-256 of the enrolment of the new Pad's custodian; a result in plain for the program's
    /// owner if `None`.
    pub custodian: Option<[u8; 32]>,
    /// The new Pad's policies.
    pub policies: Vec<Policy>,
    /// The new Pad's attributes.
    pub attributes: Vec<Attribute>,
    /// Bytes of its data.
    pub size_bytes: u64,
}

impl Proposal {
    /// Whether a frame can hold it; the same budgets as for reading.
    pub fn is_bounded(&self) -> bool {
        let policies = self.policies.iter().all(|policy| {
            let constraints =
                [&policy.input_constraint, &policy.program_constraint, &policy.output_constraint];
            constraints.iter().all(|constraint| constraint.len() <= MAX_VALUE_BYTES)
        });
        let attributes = self.attributes.iter().all(|attribute| {
            attribute.name.len() <= MAX_NAME_BYTES && attribute.value.len() <= MAX_VALUE_BYTES
        });
        let counts = self.policies.len() <= MAX_POLICIES && self.attributes.len() <= MAX_ATTRIBUTES;
        let mut frame = Vec::new();
        self.write(&mut frame);
        policies && attributes && counts && frame.len() <= MAX_PROPOSAL_BYTES
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, FrameError> {
        let custodian = match reader.u8("custodian")? {
            0 => None,
            1 => Some(reader.array("custodian")?),
            found => return Err(FrameError::Flag { field: "custodian", found }),
        };
        let size_bytes = reader.u64("size")?;
        let policies = many(reader, "policies", MAX_POLICIES, policy)?;
        let attributes = many(reader, "attributes", MAX_ATTRIBUTES, attribute)?;
        Ok(Self { custodian, policies, attributes, size_bytes })
    }

    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        match &self.custodian {
            None => to.push(0),
            Some(custodian) => {
                to.push(1);
                to.extend(custodian);
            }
        }
        to.extend(self.size_bytes.to_le_bytes());
        to.extend((self.policies.len() as u32).to_le_bytes());
        for policy in &self.policies {
            to.extend(policy.engine);
            to.extend(policy.policy_type);
            to.extend(policy.input_id);
            put(to, &policy.input_constraint);
            put(to, &policy.program_constraint);
            put(to, &policy.output_constraint);
        }
        to.extend((self.attributes.len() as u32).to_le_bytes());
        for attribute in &self.attributes {
            put(to, attribute.name.as_bytes());
            put(to, &attribute.value);
        }
    }
}

fn put(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend((bytes.len() as u32).to_le_bytes());
    to.extend(bytes);
}

/// Grows with what is there, never with what a count states.
fn many<T>(
    reader: &mut Reader<'_>,
    field: &'static str,
    most: usize,
    read: impl Fn(&mut Reader<'_>) -> Result<T, FrameError>,
) -> Result<Vec<T>, FrameError> {
    let count = reader.u32(field)? as usize;
    if count > most {
        return Err(FrameError::Budget { field, found: count, most });
    }
    (0..count).map(|_| read(reader)).collect()
}

fn policy(reader: &mut Reader<'_>) -> Result<Policy, FrameError> {
    Ok(Policy {
        engine: reader.array("engine")?,
        policy_type: reader.array("policy type")?,
        input_id: reader.array("input id")?,
        input_constraint: bytes(reader, "input constraint", MAX_VALUE_BYTES)?,
        program_constraint: bytes(reader, "program constraint", MAX_VALUE_BYTES)?,
        output_constraint: bytes(reader, "output constraint", MAX_VALUE_BYTES)?,
    })
}

fn attribute(reader: &mut Reader<'_>) -> Result<Attribute, FrameError> {
    let name = bytes(reader, "name", MAX_NAME_BYTES)?;
    let name = String::from_utf8(name).map_err(|_| FrameError::Text("name"))?;
    Ok(Attribute { name, value: bytes(reader, "value", MAX_VALUE_BYTES)? })
}

fn bytes(reader: &mut Reader<'_>, field: &'static str, most: usize) -> Result<Vec<u8>, FrameError> {
    let length = reader.u32(field)? as usize;
    if length > most {
        return Err(FrameError::Budget { field, found: length, most });
    }
    Ok(reader.take(field, length)?.to_vec())
}
