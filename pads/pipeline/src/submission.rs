//! What is submitted as a run, and what of it is accepted: an owner who signed this very run, once,
//! and enrolments that their custodians signed.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use pad_format::enrolment::SignedEnrolment;
use pad_format::metadata::Uri;
use pad_format::reader::SealedPad;
use pad_format::run::{MAX_PADS, Run, RunId, SignedRun};
use pad_format::{CustodianId, PadDigest};
use protocol::channel::EXPORTER_BYTES;
use protocol::digest::Sha256Digest;
use protocol::rule::unless;

use crate::audit::Journal;
use crate::delegator::{Delegator, Denied, Party};
use crate::engines::{PlainInput, RunView};
use crate::refusal::{Reason, Refusal};

/// Run ids that wait for their run: each is a promise to take it once.
const MAX_DRAWN: usize = 4096;
/// How long an id may wait: as long as a signature over it is valid.
const MAX_WAIT_SECS: u64 = pad_format::run::MAX_VALIDITY_SECS;

/// The run ids that a middleware drew and nobody used.
#[derive(Debug, Default)]
pub struct Runs {
    drawn: BTreeMap<RunId, u64>,
}

/// Why no run id was drawn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DrawError {
    /// too many that wait
    #[error("{MAX_DRAWN} run ids wait for their runs; submit one, or wait")]
    TooMany,
    /// no randomness
    #[error("the operating system gave no randomness: {0}")]
    Randomness(#[from] getrandom::Error),
}

impl Runs {
    /// Draws an id for one run, which its owner signs.
    ///
    /// # Errors
    /// If too many wait, or there is no randomness.
    pub fn draw(&mut self, now: u64) -> Result<RunId, DrawError> {
        self.drawn.retain(|_, drawn| now.saturating_sub(*drawn) <= MAX_WAIT_SECS);
        if self.drawn.len() >= MAX_DRAWN {
            return Err(DrawError::TooMany);
        }
        let mut id = RunId([0; 16]);
        getrandom::fill(&mut id.0)?;
        self.drawn.insert(id, now);
        Ok(id)
    }

    /// Uses an id up; whether it was there.
    fn take(&mut self, id: RunId) -> bool {
        self.drawn.remove(&id).is_some()
    }
}

/// A run as it is submitted: all of it is a claim but the digests, the exporter and the time.
pub struct Submission<R> {
    /// The run id.
    pub id: RunId,
    /// Keying material of the submitter's channel.
    pub exporter: [u8; EXPORTER_BYTES],
    /// The time, in seconds since 1970.
    pub now: u64,
    /// SHA-256 of the program that will run.
    pub program: Sha256Digest,
    /// Names of the native helpers that this program imports, ascending.
    pub helpers: &'static [&'static str],
    /// SHA-256 of each engine that is ready.
    pub engines: Vec<Sha256Digest>,
    /// The Pads, in their order.
    pub pads: Vec<SealedPad<R>>,
    /// The plain input that the program will be given.
    pub plain: Option<PlainInput>,
    /// The owner's signature.
    pub signed: Option<SignedRun>,
    /// Enrolments of the custodians, and the addresses of their delegators.
    pub parties: Vec<(SignedEnrolment, Uri)>,
}

/// A run that may begin. Holding one proves: its id was drawn here and is used up, its owner, if it
/// has one, signed it, and its enrolments are their custodians'.
pub struct Accepted<R> {
    pub(crate) facts: Facts,
    pub(crate) pads: Vec<Option<SealedPad<R>>>,
}

/// What is known of a run.
pub(crate) struct Facts {
    pub id: RunId,
    pub run: RunView,
    /// Ascending.
    pub engines: Vec<Sha256Digest>,
    pub parties: BTreeMap<CustodianId, Party>,
    pub journal: Journal,
}

impl Facts {
    /// The verified enrolment of a custodian, found by its whole id.
    pub(crate) fn party(&self, custodian: &CustodianId) -> Result<&Party, Reason> {
        self.parties.get(custodian).ok_or(Reason::NotEnrolled(*custodian))
    }

    /// Gives the pending decisions of the record away.
    pub(crate) fn flush(&mut self, delegator: &mut dyn Delegator) -> Result<(), Denied> {
        self.journal.flush(&self.run, &self.engines, &self.parties, delegator)
    }

    pub(crate) fn is_stated(&self, engine: &Sha256Digest) -> bool {
        self.engines.binary_search(engine).is_ok()
    }
}

impl<R: Read + Seek> Submission<R> {
    /// Accepts a run; its id is used up in any case.
    ///
    /// # Errors
    /// If the id was not drawn or was used, the owner did not sign this run, or an enrolment is not
    /// its custodian's.
    pub fn accept(self, runs: &mut Runs) -> Result<Accepted<R>, Refusal> {
        self.accepted(runs).map_err(Refusal::run)
    }

    fn accepted(mut self, runs: &mut Runs) -> Result<Accepted<R>, Reason> {
        let was_drawn = runs.take(self.id);
        unless(was_drawn, || Reason::RunId)?;
        let found = self.pads.len();
        unless(found <= MAX_PADS, || Reason::Pads { found, most: MAX_PADS })?;
        let parties = parties(std::mem::take(&mut self.parties))?;
        let owner = self.owner()?;
        self.engines.sort_unstable();
        self.engines.dedup();
        let run =
            RunView { program: self.program, owner, plain: self.plain, helpers: self.helpers };
        let journal = Journal::new(self.id, self.now);
        let (id, engines) = (self.id, self.engines);
        let facts = Facts { id, run, engines, parties, journal };
        Ok(Accepted { facts, pads: self.pads.into_iter().map(Some).collect() })
    }

    /// The owner, by a signature over the run as it is here and not as it is stated.
    fn owner(&self) -> Result<Option<CustodianId>, Reason> {
        let Some(signed) = &self.signed else { return Ok(None) };
        let run = Run {
            id: self.id,
            exporter: self.exporter,
            program: self.program,
            pads: self.pads.iter().map(SealedPad::digest).collect::<Vec<PadDigest>>(),
            plain_input: self.plain.map(|plain| plain.digest),
        };
        Ok(Some(signed.verify(&run, self.now)?.id()))
    }
}

fn parties(submitted: Vec<(SignedEnrolment, Uri)>) -> Result<BTreeMap<CustodianId, Party>, Reason> {
    let mut parties = BTreeMap::new();
    for (signed, uri) in submitted {
        let id = signed.claimed().custodian.id();
        let verified = signed.verify(&id)?;
        let enrolment = verified.enrolment();
        let party = Party {
            custodian: enrolment.custodian.clone(),
            key_provider_id: enrolment.key_provider_id,
            result_key: enrolment.result_key,
            uri,
        };
        let is_new = parties.insert(id, party).is_none();
        unless(is_new, || Reason::EnrolledTwice(id))?;
    }
    Ok(parties)
}
