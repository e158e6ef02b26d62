//! Why something is refused: the rule, the Pad, and a figure that the middleware computed.
//!
//! Nothing here goes to the program, which is told no and no more.

use std::fmt;

use pad_format::enrolment::EnrolmentError;
use pad_format::run::RunError;
use pad_format::update::UpdateError;
use pad_format::{CustodianId, PadDigest, PadId};
use protocol::digest::Sha256Digest;

use crate::delegator::{Denied, QuotaUse};
use crate::engines::{EngineFailed, Part, RuleRefusal};
use crate::figure::Figure;

/// Which Pad a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedPad {
    /// Its id.
    pub id: PadId,
    /// Its digest.
    pub digest: PadDigest,
    /// Its custodian.
    pub custodian: CustodianId,
}

/// A no, and the Pad that it is about if it is about one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The Pad.
    pub pad: Option<NamedPad>,
    /// The reason.
    pub reason: Reason,
}

/// The reason of a refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// a run id that was not drawn here, or was used
    #[error("the run id was not drawn by this middleware, or was used before")]
    RunId,
    /// more Pads than a run has
    #[error("{found} Pads were submitted, a run has at most {most}")]
    Pads {
        /// How many there are.
        found: usize,
        /// The most.
        most: usize,
    },
    /// an owner who did not sign this run
    #[error(transparent)]
    Owner(#[from] RunError),
    /// an enrolment that its custodian did not sign
    #[error(transparent)]
    Enrolment(#[from] EnrolmentError),
    /// two enrolments of one custodian
    #[error("the custodian {0} is enrolled twice")]
    EnrolledTwice(CustodianId),
    /// a custodian without an enrolment
    #[error("no enrolment of the custodian {0} was submitted")]
    NotEnrolled(CustodianId),
    /// a Pad that was not submitted, or was added before
    #[error("the Pad was not submitted to this run, or was added before")]
    Handle,
    /// other Pads than the owner signed
    #[error("the owner signed for {signed} Pads in their order, and the program added {added}")]
    OtherPads {
        /// How many the owner signed for.
        signed: usize,
        /// How many were added.
        added: usize,
    },
    /// the same Pad twice, or under two policies
    #[error("the Pad's id is in the dataset twice")]
    Twice,
    /// another delegator than the custodian's
    #[error("the metadata name the delegator {found}, the custodian enrolled with {expected}")]
    OtherDelegator {
        /// The one of the metadata.
        found: Sha256Digest,
        /// The one of the enrolment.
        expected: Sha256Digest,
    },
    /// a key of another delegator
    #[error("the key came from {found}, the custodian enrolled with {expected}")]
    OtherSource {
        /// Who gave it.
        found: Sha256Digest,
        /// The one of the enrolment.
        expected: Sha256Digest,
    },
    /// fewer or more keys than Pads
    #[error("{found} keys were released for {expected} Pads")]
    Keys {
        /// Keys.
        found: usize,
        /// Pads.
        expected: usize,
    },
    /// a delegator that does not do what it is asked for
    #[error("a key delegator: {0}")]
    Delegator(Denied),
    /// a Pad that does not open
    #[error("{0}")]
    Sealed(String),
    /// an engine that is none of the run's
    #[error("a policy names the engine {0}, which was not stated for this run")]
    NotStated(Sha256Digest),
    /// an engine without an answer
    #[error("the engine {engine}: {failed}")]
    Engine {
        /// The engine.
        engine: Sha256Digest,
        /// What happened.
        failed: EngineFailed,
    },
    /// fewer or more answers than Pads
    #[error("the engine {engine} gave {found} answers for {expected} Pads")]
    Answers {
        /// The engine.
        engine: Sha256Digest,
        /// Answers.
        found: usize,
        /// Pads.
        expected: usize,
    },
    /// an engine that asks for a use that cannot be counted
    #[error(
        "the engine {0} asks for a use of a quota that is not the run's owner's, or of no size"
    )]
    Use(Sha256Digest),
    /// a rule of a policy
    #[error("refused by {rule}")]
    Rule {
        /// The rule.
        rule: Broken,
    },
    /// a quota without a use left
    #[error("refused by {}: {} uses in {} seconds", rate_limit(), .0.uses, .0.period_secs)]
    Spent(QuotaUse),
    /// a quota that was refused before in this run
    #[error("the run's uses of quotas were refused before")]
    SpentBefore,
    /// an output that no Pad can be
    #[error("the proposed Pad: {0}")]
    Output(String),
    /// a plain result with policies or attributes
    #[error("a result in plain has neither policies nor attributes")]
    PlainContents,
    /// a plain result for nobody
    #[error("a result in plain is for the program's owner, who is not proved")]
    PlainForNobody,
    /// owners who did not sign this update
    #[error(transparent)]
    Update(#[from] UpdateError),
    /// a Pad that could not be packed
    #[error("pack the output: {0}")]
    Pack(String),
}

/// A rule that refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The engine.
    pub engine: Sha256Digest,
    /// The engine's code of the kind of rule.
    pub code: u16,
    /// The rule's name, if the code is one of the engine `share`.
    pub name: Option<&'static str>,
    /// Its place; `None` if no rule grants what is asked.
    pub rule: Option<(Part, u16)>,
    /// What the middleware computed.
    pub figure: Option<Figure>,
}

impl Broken {
    pub(crate) fn of(engine: Sha256Digest, refusal: &RuleRefusal, figure: Option<Figure>) -> Self {
        let code = refusal.code;
        let name = pad_rules::Code::of_number(code).map(pad_rules::Code::name);
        Self { engine, code, name, rule: refusal.rule, figure }
    }
}

fn rate_limit() -> &'static str {
    pad_rules::Code::Quota.name()
}

impl Refusal {
    pub(crate) fn run(reason: Reason) -> Self {
        Self { pad: None, reason }
    }

    pub(crate) fn pad(pad: NamedPad, reason: Reason) -> Self {
        Self { pad: Some(pad), reason }
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(pad) = &self.pad {
            write!(f, "Pad {} of {}: ", pad.id, pad.custodian.shown())?;
        }
        self.reason.fmt(f)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => f.write_str(name)?,
            None => write!(f, "code {} of the engine {}", self.code, self.engine)?,
        }
        match self.rule {
            Some((part, index)) => write!(f, " ({} rule {})", part.name(), u32::from(index) + 1)?,
            None => f.write_str(" (no rule allows it)")?,
        }
        match &self.figure {
            Some(figure) => write!(f, ": {figure}"),
            None => Ok(()),
        }
    }
}
