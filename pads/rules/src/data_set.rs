//! What an engine is told of a data set: nothing of the data.

use alloc::string::String;
use alloc::vec::Vec;

use crate::policy::Constraints;
use crate::rule::{OwnerId, ProgramDigest};

/// A data set before a run, or during it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSet {
    /// The program that asks for the data.
    pub program: ProgramDigest,
    /// Its owner, if one is proved. A middleware states none that did not sign this run.
    pub owner: Option<OwnerId>,
    /// What the owner gives the program besides Pads.
    pub plain_input: Option<PlainInput>,
    /// Names of the native helpers that the program uses.
    pub helpers: Vec<String>,
    /// The Pads, each there once.
    pub pads: Vec<Pad>,
}

/// A Pad of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pad {
    /// Its id.
    pub id: [u8; 16],
    /// Who owns it.
    pub custodian: OwnerId,
    /// Numbers about its data.
    pub statements: Vec<Statement>,
}

/// A number about the data of a Pad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its name.
    pub name: String,
    /// The number.
    pub value: u64,
    /// Whether the Pad's custodian signed it; a program's statement counts for no rule.
    pub is_signed: bool,
}

/// Plain input of a program's owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainInput {
    /// Its SHA-256.
    pub digest: [u8; 32],
    /// Its size.
    pub bytes: u64,
}

/// What a program proposes to give out.
#[derive(Debug, Clone, Copy)]
pub enum Output<'a> {
    /// A new Pad.
    Pad(&'a Proposal),
    /// A plain result for the program's owner.
    Plain(&'a [u8]),
}

/// The frame of a new Pad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Who is to own it.
    pub custodian: OwnerId,
    /// Policies under this engine; those under others have nothing to say about this one's rules.
    pub policies: Vec<Constraints>,
}

impl Pad {
    /// The number of this name that the custodian signed; names are there once.
    pub(crate) fn signed(&self, name: &str) -> Option<u64> {
        let mut found = self.statements.iter().filter(|statement| statement.name == name);
        match (found.next(), found.next()) {
            (Some(statement), None) if statement.is_signed => Some(statement.value),
            _ => None,
        }
    }
}
