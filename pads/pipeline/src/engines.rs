//! What policy engines are told and what they answer, as one interface.

use std::sync::Arc;

use pad_format::{Attribute, Contents, CustodianId, PadDigest, PadId, Policy};
use protocol::digest::Sha256Digest;
use zeroize::Zeroizing;

use crate::delegator::QuotaUse;

/// The data of a proposed output, which engines read through windows.
pub type ProposedData = Arc<Zeroizing<Vec<u8>>>;

/// Calls engines. Each call has a fresh instance of the component with this SHA-256, and of no
/// other.
pub trait Engines {
    /// Asks an engine about a dataset: one answer for each index in `asked`.
    ///
    /// # Errors
    /// If the engine gives none.
    fn check_input(
        &mut self,
        engine: &Sha256Digest,
        run: &RunView,
        pads: &[PadView],
        asked: &[u32],
    ) -> Result<Vec<Answer>, EngineFailed>;

    /// The same about an output.
    ///
    /// # Errors
    /// If the engine gives none.
    fn check_output(
        &mut self,
        engine: &Sha256Digest,
        run: &RunView,
        pads: &[PadView],
        asked: &[u32],
        output: &OutputView,
    ) -> Result<Vec<Answer>, EngineFailed>;

    /// Asks whether other policies may replace those of a Pad.
    ///
    /// # Errors
    /// If the engine gives no answer.
    fn check_update(
        &mut self,
        engine: &Sha256Digest,
        update: &UpdateView,
    ) -> Result<Answer, EngineFailed>;
}

/// A run, as engines see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunView {
    /// SHA-256 of the program.
    pub program: Sha256Digest,
    /// Its owner, whose signature over this run was verified.
    pub owner: Option<CustodianId>,
    /// The plain input, if there is one.
    pub plain: Option<PlainInput>,
    /// Names of the native helpers that the program imports, ascending.
    pub helpers: &'static [&'static str],
}

/// Plain input of a program's owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainInput {
    /// Its SHA-256.
    pub digest: Sha256Digest,
    /// Its size.
    pub bytes: u64,
}

/// A Pad of a dataset, without its data.
pub struct PadView {
    /// Its id.
    pub id: PadId,
    /// Its digest.
    pub digest: PadDigest,
    /// Its custodian.
    pub custodian: CustodianId,
    /// Its policies and attributes, of which those that are the custodian's were verified.
    pub contents: Contents,
}

/// A proposed output.
pub struct OutputView {
    /// The new Pad's custodian; a result in plain for the program's owner if `None`.
    pub custodian: Option<CustodianId>,
    /// The new Pad's policies.
    pub policies: Vec<Policy>,
    /// The new Pad's attributes, all of which are the program's.
    pub attributes: Vec<Attribute>,
    /// Its data.
    pub data: ProposedData,
}

/// Other policies for a Pad.
pub struct UpdateView {
    /// The Pad, with the policies that are in force.
    pub pad: PadView,
    /// The policies that are to replace them.
    pub policies: Vec<Policy>,
    /// The owners whose signatures over the update were verified, ascending.
    pub owners: Vec<CustodianId>,
}

/// An engine's answer for one Pad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Yes, if these uses are counted.
    Allowed(Vec<QuotaUse>),
    /// No.
    Refused(RuleRefusal),
}

/// An engine's no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleRefusal {
    /// The engine's own code of the kind of rule.
    pub code: u16,
    /// The rule; `None` if no rule grants what is asked.
    pub rule: Option<(Part, u16)>,
}

/// A part of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Its input constraint.
    Input,
    /// Its program constraint.
    Program,
    /// Its output constraint.
    Output,
}

impl Part {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Program => "program",
            Self::Output => "output",
        }
    }
}

/// an engine gave no answer; the text is of no engine's choice
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EngineFailed(pub String);
