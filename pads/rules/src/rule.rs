//! The rules and their one encoding: an array for each, whose first item is its number.
//!
//! Every list is in ascending order and without repetition, so that two rules are the same if their
//! bytes are.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec::Vec;

use pad_cbor::{CborError, Reader, Writer};

/// A hundred percent.
pub const BASIS_POINTS: u64 = 10_000;
/// Most programs, owners or labels that one rule names.
const MAX_LIST: usize = 256;
/// Longest name of an attribute, label or helper.
const MAX_NAME_BYTES: usize = 64;
/// Longest period of a quota: about ten years.
pub const MAX_PERIOD_SECS: u64 = 10 * 366 * 24 * 60 * 60;
/// Most uses in a period: whoever counts them keeps the time of each.
pub const MAX_USES: u64 = 10_000;

/// SHA-256 of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProgramDigest(pub [u8; 32]);

/// The full id of a custodian, which the owner of a program is too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerId(pub [u8; 32]);

/// The name of a quota: all Pads whose policies have it draw on one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuotaId(pub [u8; 16]);

/// A share of a data set, by a number that custodians signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The share, in parts of [`BASIS_POINTS`].
    pub basis_points: u64,
    /// The attribute that is counted.
    pub attribute: String,
    /// Pads of these custodians count, no others.
    pub among: Vec<OwnerId>,
}

/// What one owner may use of a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The owner.
    pub owner: OwnerId,
    /// How often in a period.
    pub uses: u64,
    /// The period.
    pub period_secs: u64,
}

/// The form of a plain result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schema {
    /// Any bytes.
    Any,
    /// Exactly one of these texts.
    Label(Vec<String>),
    /// A decimal number: a sign, digits, and a fraction, the first and the last if there are any.
    Number,
}

/// Which data sets the Pad may be part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputRule {
    /// The Pad's custodian has at most this share of the data set.
    MaxShare(Share),
    /// It has at least this share.
    MinShare(Share),
    /// The program's owner may give it plain input of at most this size.
    PlainInput {
        /// The size.
        max_bytes: u64,
    },
}

/// What may read the Pad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramRule {
    /// One of these programs.
    ProgramIn(Vec<ProgramDigest>),
    /// A program that one of these owners runs.
    AuthUser(Vec<OwnerId>),
    /// A program whose owner has uses left.
    RateLimit {
        /// The account.
        quota: QuotaId,
        /// What each owner may use, ascending by owner.
        owners: Vec<Quota>,
    },
    /// A program that uses no native helpers but these, by their names.
    HelperIn(Vec<String>),
}

/// What may come of the Pad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputRule {
    /// Pads for this custodian.
    Custodian(OwnerId),
    /// Pads with a policy that is at least as strict as this one.
    SamePolicy,
    /// Plain results for the program's owner.
    PlainResult {
        /// Their form.
        schema: Schema,
        /// Their size.
        max_bytes: u64,
    },
    /// The same data under other policies, on which owners of at least this share agree.
    UpdateBy {
        /// The share, in parts of [`BASIS_POINTS`].
        basis_points: u64,
        /// Each owner's weight, ascending by owner.
        weights: Vec<(OwnerId, u64)>,
    },
}

/// Why bytes are no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// not the encoding of one
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// a number of a rule that this part of a policy has not
    #[error("{part}: rule {number} is not known there")]
    Unknown {
        /// The part.
        part: &'static str,
        /// The number.
        number: u64,
    },
    /// a list out of order, or with something twice
    #[error("{0}: the list is not in ascending order without repetition")]
    Order(&'static str),
}

/// A rule of one part of a policy.
pub(crate) trait Rule: Sized + PartialEq {
    /// The part's name.
    const PART: &'static str;
    fn write(&self, writer: &mut Writer);
    fn read(reader: &mut Reader<'_>) -> Result<Self, RuleError>;
    /// The kind of rules without which nothing is allowed, if this is one.
    fn grants(&self) -> Option<u64>;
}

impl Rule for InputRule {
    const PART: &'static str = "input constraint";

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::MaxShare(share) => share.write(writer.array(4).uint(1)),
            Self::MinShare(share) => share.write(writer.array(4).uint(2)),
            Self::PlainInput { max_bytes } => {
                writer.array(2).uint(3).uint(*max_bytes);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, RuleError> {
        let (items, number) = number(reader, Self::PART)?;
        match (number, items) {
            (1, 4) => Share::read(reader).map(Self::MaxShare),
            (2, 4) => Share::read(reader).map(Self::MinShare),
            (3, 2) => Ok(Self::PlainInput { max_bytes: any(reader, "PLAIN_INPUT")? }),
            _ => Err(RuleError::Unknown { part: Self::PART, number }),
        }
    }

    fn grants(&self) -> Option<u64> {
        match self {
            Self::MaxShare(_) | Self::MinShare(_) => None,
            Self::PlainInput { .. } => Some(3),
        }
    }
}

impl Rule for ProgramRule {
    const PART: &'static str = "program constraint";

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::ProgramIn(programs) => {
                writer.array(2).uint(1).array(programs.len());
                programs.iter().for_each(|program| {
                    writer.bytes(&program.0);
                });
            }
            Self::AuthUser(owners) => write_owners(writer.array(2).uint(2), owners),
            Self::RateLimit { quota, owners } => {
                writer.array(3).uint(3).bytes(&quota.0).array(owners.len());
                for Quota { owner, uses, period_secs } in owners {
                    writer.array(3).bytes(&owner.0).uint(*uses).uint(*period_secs);
                }
            }
            Self::HelperIn(helpers) => {
                writer.array(2).uint(4).array(helpers.len());
                helpers.iter().for_each(|helper| {
                    writer.text(helper);
                });
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, RuleError> {
        let (items, number) = number(reader, Self::PART)?;
        match (number, items) {
            (1, 2) => {
                let program = |reader: &mut Reader<'_>| Ok(ProgramDigest(reader.fixed("program")?));
                Ok(Self::ProgramIn(list(reader, "PROGRAM_IN", program, |program| *program)?))
            }
            (2, 2) => Ok(Self::AuthUser(read_owners(reader, "AUTH_USER")?)),
            (3, 3) => {
                let quota = QuotaId(reader.fixed("quota")?);
                let owners = list(reader, "RATE_LIMIT", Quota::read, |quota| quota.owner)?;
                Ok(Self::RateLimit { quota, owners })
            }
            (4, 2) => {
                let helper = |reader: &mut Reader<'_>| name(reader, "helper");
                Ok(Self::HelperIn(list(reader, "HELPER_IN", helper, Clone::clone)?))
            }
            _ => Err(RuleError::Unknown { part: Self::PART, number }),
        }
    }

    fn grants(&self) -> Option<u64> {
        match self {
            Self::ProgramIn(_) => Some(1),
            Self::HelperIn(_) => Some(4),
            Self::AuthUser(_) | Self::RateLimit { .. } => None,
        }
    }
}

impl Rule for OutputRule {
    const PART: &'static str = "output constraint";

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Custodian(owner) => {
                writer.array(2).uint(1).bytes(&owner.0);
            }
            Self::SamePolicy => {
                writer.array(1).uint(2);
            }
            Self::PlainResult { schema, max_bytes } => {
                writer.array(3).uint(3);
                schema.write(writer);
                writer.uint(*max_bytes);
            }
            Self::UpdateBy { basis_points, weights } => {
                writer.array(3).uint(4).uint(*basis_points).array(weights.len());
                for (owner, weight) in weights {
                    writer.array(2).bytes(&owner.0).uint(*weight);
                }
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, RuleError> {
        let (items, number) = number(reader, Self::PART)?;
        match (number, items) {
            (1, 2) => Ok(Self::Custodian(OwnerId(reader.fixed("CUSTODIAN")?))),
            (2, 1) => Ok(Self::SamePolicy),
            (3, 3) => {
                let schema = Schema::read(reader)?;
                Ok(Self::PlainResult { schema, max_bytes: any(reader, "PLAIN_RESULT")? })
            }
            (4, 3) => {
                let basis_points = reader.uint("UPDATE_BY", 1..=BASIS_POINTS)?;
                let weight = |reader: &mut Reader<'_>| {
                    reader.array("weight", 2..=2)?;
                    let owner = OwnerId(reader.fixed("weight: owner")?);
                    Ok((owner, reader.uint("weight", 1..=u64::MAX)?))
                };
                let weights = list(reader, "UPDATE_BY", weight, |(owner, _)| *owner)?;
                Ok(Self::UpdateBy { basis_points, weights })
            }
            _ => Err(RuleError::Unknown { part: Self::PART, number }),
        }
    }

    fn grants(&self) -> Option<u64> {
        match self {
            Self::Custodian(_) => Some(1),
            Self::SamePolicy => None,
            Self::PlainResult { .. } => Some(3),
            Self::UpdateBy { .. } => Some(4),
        }
    }
}

impl Share {
    /// The rest of a rule that has one.
    fn write(&self, writer: &mut Writer) {
        writer.uint(self.basis_points).text(&self.attribute);
        write_owners(writer, &self.among);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, RuleError> {
        Ok(Self {
            basis_points: reader.uint("share", 0..=BASIS_POINTS)?,
            attribute: reader.text("share: attribute", 1..=MAX_NAME_BYTES)?.to_owned(),
            among: read_owners(reader, "AMONG")?,
        })
    }
}

impl Quota {
    fn read(reader: &mut Reader<'_>) -> Result<Self, RuleError> {
        reader.array("quota", 3..=3)?;
        Ok(Self {
            owner: OwnerId(reader.fixed("quota: owner")?),
            uses: reader.uint("quota: uses", 1..=MAX_USES)?,
            period_secs: reader.uint("quota: period", 1..=MAX_PERIOD_SECS)?,
        })
    }
}

impl Schema {
    /// `[1]`, `[2, [label, …]]` or `[3]`.
    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Any => {
                writer.array(1).uint(1);
            }
            Self::Label(labels) => {
                writer.array(2).uint(2).array(labels.len());
                labels.iter().for_each(|label| {
                    writer.text(label);
                });
            }
            Self::Number => {
                writer.array(1).uint(3);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, RuleError> {
        let (items, number) = number(reader, "schema")?;
        match (number, items) {
            (1, 1) => Ok(Self::Any),
            (2, 2) => {
                let label = |reader: &mut Reader<'_>| name(reader, "label");
                Ok(Self::Label(list(reader, "labels", label, Clone::clone)?))
            }
            (3, 1) => Ok(Self::Number),
            _ => Err(RuleError::Unknown { part: "schema", number }),
        }
    }
}

/// The number of items of an array, and its first one.
fn number(reader: &mut Reader<'_>, part: &'static str) -> Result<(usize, u64), RuleError> {
    let items = reader.array(part, 1..=4)?;
    Ok((items, any(reader, part)?))
}

fn any(reader: &mut Reader<'_>, field: &'static str) -> Result<u64, RuleError> {
    Ok(reader.uint(field, 0..=u64::MAX)?)
}

fn name(reader: &mut Reader<'_>, field: &'static str) -> Result<String, RuleError> {
    Ok(reader.text(field, 1..=MAX_NAME_BYTES)?.to_owned())
}

fn write_owners(writer: &mut Writer, owners: &[OwnerId]) {
    writer.array(owners.len());
    owners.iter().for_each(|owner| {
        writer.bytes(&owner.0);
    });
}

fn read_owners(reader: &mut Reader<'_>, field: &'static str) -> Result<Vec<OwnerId>, RuleError> {
    list(reader, field, |reader| Ok(OwnerId(reader.fixed("owner")?)), |owner| *owner)
}

/// A list that is ascending by a key.
fn list<T, K: Ord>(
    reader: &mut Reader<'_>,
    field: &'static str,
    read: impl Fn(&mut Reader<'_>) -> Result<T, RuleError>,
    key: impl Fn(&T) -> K,
) -> Result<Vec<T>, RuleError> {
    let count = reader.array(field, 1..=MAX_LIST)?;
    let mut items: Vec<T> = Vec::new();
    for _ in 0..count {
        let item = read(reader)?;
        if items.last().is_some_and(|last| key(last) >= key(&item)) {
            return Err(RuleError::Order(field));
        }
        items.push(item);
    }
    Ok(items)
}
