//! Policies and attributes as they cross to and from a program, and what it proposes to give away.

use protocol::reader::Reader;

use crate::MAX_PROPOSAL_BYTES;
use crate::codec::{bytes, many, put, text};
use crate::fault::FrameError;

/// Policies of one Pad, as many as the format has.
const MAX_POLICIES: usize = 16;
/// Attributes of one Pad, as many as the format has.
const MAX_ATTRIBUTES: usize = 64;
/// Bytes of the name of an attribute or an input.
const MAX_NAME_BYTES: usize = 64;
/// Bytes of a constraint.
const MAX_CONSTRAINT_BYTES: usize = 32 << 10;
/// Bytes of an attribute's value that is a text or bytes.
const MAX_VALUE_BYTES: usize = 4096;

/// A policy as a program writes it: no engine has read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// SHA-256 of the component that decides.
    pub engine: [u8; 32],
    /// The policy's type, for people.
    pub policy_type: [u8; 16],
    /// The name by which constraints speak of the Pad.
    pub input_id: String,
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
    pub value: Value,
}

/// The value of an attribute; none is ever made of another type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
    /// Anything else.
    Bytes(Vec<u8>),
}

const NUMBER: u8 = 0;
const TEXT: u8 = 1;
const BYTES: u8 = 2;

/// Policies and attributes: those of an opened Pad, or those that an output is to have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    /// The policies.
    pub policies: Vec<Policy>,
    /// The attributes.
    pub attributes: Vec<Attribute>,
}

/// An output without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// SHA-256 of the enrolment of the new Pad's custodian; a result in plain for the program's
    /// owner if `None`.
    pub custodian: Option<[u8; 32]>,
    /// The new Pad's policies and attributes.
    pub contents: Contents,
    /// Bytes of its data.
    pub size_bytes: u64,
}

impl Proposal {
    /// Whether a frame can hold it; the same budgets as for reading.
    pub fn is_bounded(&self) -> bool {
        let mut frame = Vec::new();
        self.write(&mut frame);
        self.contents.is_bounded() && frame.len() <= MAX_PROPOSAL_BYTES
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, FrameError> {
        let custodian = match reader.u8("custodian")? {
            0 => None,
            1 => Some(reader.array("custodian")?),
            found => return Err(FrameError::Flag { field: "custodian", found }),
        };
        let size_bytes = reader.u64("size")?;
        Ok(Self { custodian, contents: Contents::read(reader)?, size_bytes })
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
        self.contents.write(to);
    }
}

impl Contents {
    fn is_bounded(&self) -> bool {
        let policies = self.policies.iter().all(|policy| {
            let constraints =
                [&policy.input_constraint, &policy.program_constraint, &policy.output_constraint];
            let is_short = |constraint: &&Vec<u8>| constraint.len() <= MAX_CONSTRAINT_BYTES;
            policy.input_id.len() <= MAX_NAME_BYTES && constraints.iter().all(is_short)
        });
        let attributes = self.attributes.iter().all(|attribute| {
            let value_bytes = match &attribute.value {
                Value::Number(_) => 0,
                Value::Text(text) => text.len(),
                Value::Bytes(bytes) => bytes.len(),
            };
            attribute.name.len() <= MAX_NAME_BYTES && value_bytes <= MAX_VALUE_BYTES
        });
        let counts = self.policies.len() <= MAX_POLICIES && self.attributes.len() <= MAX_ATTRIBUTES;
        policies && attributes && counts
    }

    /// Reads what [`Self::write`] appended.
    ///
    /// # Errors
    /// If a count or length is above its budget, or something is not there.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, FrameError> {
        let policies = many(reader, "policies", MAX_POLICIES, policy)?;
        Ok(Self { policies, attributes: many(reader, "attributes", MAX_ATTRIBUTES, attribute)? })
    }

    /// Appends policies and attributes to a frame.
    pub fn write(&self, to: &mut Vec<u8>) {
        to.extend((self.policies.len() as u32).to_le_bytes());
        for policy in &self.policies {
            to.extend(policy.engine);
            to.extend(policy.policy_type);
            put(to, policy.input_id.as_bytes());
            put(to, &policy.input_constraint);
            put(to, &policy.program_constraint);
            put(to, &policy.output_constraint);
        }
        to.extend((self.attributes.len() as u32).to_le_bytes());
        for attribute in &self.attributes {
            put(to, attribute.name.as_bytes());
            attribute.value.write(to);
        }
    }
}

impl Value {
    fn write(&self, to: &mut Vec<u8>) {
        match self {
            Self::Number(number) => {
                to.push(NUMBER);
                to.extend(number.to_le_bytes());
            }
            Self::Text(text) => {
                to.push(TEXT);
                put(to, text.as_bytes());
            }
            Self::Bytes(bytes) => {
                to.push(BYTES);
                put(to, bytes);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, FrameError> {
        match reader.u8("value")? {
            NUMBER => Ok(Self::Number(reader.u64("value")?)),
            TEXT => text(reader, "value", MAX_VALUE_BYTES).map(Self::Text),
            BYTES => bytes(reader, "value", MAX_VALUE_BYTES).map(Self::Bytes),
            found => Err(FrameError::Flag { field: "value", found }),
        }
    }
}

fn policy(reader: &mut Reader<'_>) -> Result<Policy, FrameError> {
    Ok(Policy {
        engine: reader.array("engine")?,
        policy_type: reader.array("policy type")?,
        input_id: text(reader, "input id", MAX_NAME_BYTES)?,
        input_constraint: bytes(reader, "input constraint", MAX_CONSTRAINT_BYTES)?,
        program_constraint: bytes(reader, "program constraint", MAX_CONSTRAINT_BYTES)?,
        output_constraint: bytes(reader, "output constraint", MAX_CONSTRAINT_BYTES)?,
    })
}

fn attribute(reader: &mut Reader<'_>) -> Result<Attribute, FrameError> {
    Ok(Attribute { name: text(reader, "name", MAX_NAME_BYTES)?, value: Value::read(reader)? })
}
