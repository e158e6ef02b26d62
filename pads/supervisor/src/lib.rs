//! Starts `pad-runner`, gives it runs, and answers what it asks for.
//!
//! `pad-runner` has no network and no keys of its own; whoever has them is its supervisor: the
//! agent of a guest, or `dstyx pad run` on an author's machine. The supervisor decides nothing
//! about a run. It passes questions to a [`Delegator`], and outputs to its caller; bytes of
//! `pad-runner` are read strictly, because programs of strangers run behind it.

#![forbid(unsafe_code)]

mod files;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command as Program, Stdio};

use pad_format::run::RunId;
use pad_format::{DataKey, Policy};
use pad_pipeline::Delegator;
use pad_pipeline::conversation::{self, Cache, Command, KeyOfUpdate, KeyToKeep, Report, Submitted};
use pad_pipeline::delegator::{Denied, NewKey, UpdatedKey};
use pad_pipeline::output::stated;
use pad_run::wire::{Wire, WireError};
use pad_run::{Contents, Limits, MAX_OUTPUT_BYTES};
use zeroize::Zeroizing;

/// The argument that makes `pad-runner` serve.
const ROLE: &str = "serve";
/// Bytes of an output: the most data, sealed in the smallest chunks, with policies and attributes.
const MAX_SEALED_BYTES: u64 = 2 * MAX_OUTPUT_BYTES;
/// Refusals that are kept of one run: their texts may be 4 KiB long.
const MAX_REFUSALS: usize = 2000;

/// The argument after it on an author's machine.
const LOCAL: &str = "local";

/// Where `pad-runner` runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a guest: it does not begin unless its processes are cut off from everything.
    Guest,
    /// On an author's machine, where [`Supervisor::missing`] says from what they are not.
    Local,
}

/// What `pad-runner` is started with.
pub struct Settings<'a> {
    /// The program `pad-runner`.
    pub runner: &'a Path,
    /// A directory of compiled code that exists, and the key of its MACs.
    pub cache: Option<(&'a Path, Zeroizing<[u8; 32]>)>,
    /// Where this is.
    pub place: Place,
}

/// A running `pad-runner`, which is killed when this is dropped.
pub struct Supervisor {
    wire: Wire<UnixStream>,
    process: Child,
    missing: Vec<String>,
}

/// A run with its files, which are read at places of their own.
pub struct Job {
    /// Its id, which was drawn.
    pub run: RunId,
    /// Keying material of the submitter's channel; any constant where there is none.
    pub exporter: [u8; 32],
    /// The time, in seconds since 1970.
    pub now: u64,
    /// The program: a component of the world `consumer`.
    pub program: File,
    /// The engines: components of the world `policy-engine`.
    pub engines: Vec<File>,
    /// The Pads.
    pub pads: Vec<File>,
    /// The plain input.
    pub plain: Option<Zeroizing<Vec<u8>>>,
    /// The signed run of the program's owner.
    pub signed: Option<Vec<u8>>,
    /// Signed enrolments of custodians, each with the address of its delegator.
    pub parties: Vec<(Vec<u8>, String)>,
    /// What the program may use.
    pub limits: Limits,
}

/// Other policies for a Pad, with its files.
pub struct Replacement {
    /// The id of the run that replaces them, which was drawn.
    pub run: RunId,
    /// The time, in seconds since 1970.
    pub now: u64,
    /// The engines of the old policies and of the new ones.
    pub engines: Vec<File>,
    /// The Pad.
    pub pad: File,
    /// An empty file that the new Pad is written to, and that lasts before the old key is retired.
    pub out: File,
    /// The new policies.
    pub policies: Vec<Policy>,
    /// The signed update of the owners.
    pub signed: Vec<u8>,
    /// The signed enrolment of the Pad's custodian, with the address of its delegator.
    pub party: (Vec<u8>, String),
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the program ended well; why it did not, or why the run did not begin.
    pub ended: Result<(), String>,
    /// What left, in the order in which it was proposed.
    pub outputs: Vec<Output>,
    /// What was refused, each with the rule, the Pad and the figure where there is one.
    pub refusals: Vec<String>,
}

/// What an output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A new Pad.
    Pad,
    /// A result in plain, sealed for the program's owner.
    Plain,
}

/// Takes what leaves a run, in pieces: an output may be larger than its taker's memory.
pub trait Outputs {
    /// The next output begins, which has so many bytes.
    ///
    /// # Errors
    /// If it cannot be taken; the conversation with `pad-runner` ends with that.
    fn begin(&mut self, kind: Kind, length: u64) -> io::Result<()>;

    /// The next bytes of the output that began last.
    ///
    /// # Errors
    /// As [`Self::begin`].
    fn part(&mut self, bytes: &[u8]) -> io::Result<()>;
}

impl Outputs for Vec<Output> {
    fn begin(&mut self, kind: Kind, _: u64) -> io::Result<()> {
        self.push(match kind {
            Kind::Pad => Output::Pad(Vec::new()),
            Kind::Plain => Output::Plain(Vec::new()),
        });
        Ok(())
    }

    fn part(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(Output::Pad(held) | Output::Plain(held)) = self.last_mut() {
            held.extend_from_slice(bytes);
        }
        Ok(())
    }
}

/// What left a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A new Pad.
    Pad(Vec<u8>),
    /// A result in plain, sealed for the program's owner.
    Plain(Vec<u8>),
}

impl Supervisor {
    /// Starts `pad-runner`, without an environment and with nothing but the stream.
    ///
    /// # Errors
    /// If it cannot be started, or ends at once.
    pub fn start(settings: Settings<'_>) -> Result<Self, SupervisorError> {
        let Settings { runner, cache, place } = settings;
        let cache = cache.map(|(path, key)| match path.to_str() {
            Some(path) => Ok(Cache { path: path.to_owned(), key }),
            None => Err(SupervisorError::Path),
        });
        let cache = cache.transpose()?;
        let (ours, theirs) = UnixStream::pair().map_err(SupervisorError::Start)?;
        let mut program = Program::new(runner);
        program.arg(ROLE).args((place == Place::Local).then_some(LOCAL));
        program.env_clear().current_dir("/");
        program.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        let process = program.spawn().map_err(SupervisorError::Start)?;
        let mut supervisor = Self { wire: Wire::new(ours), process, missing: Vec::new() };
        supervisor.wire.send(&Command::Begin(cache))?;
        match supervisor.wire.receive()? {
            Report::Begun(missing) => supervisor.missing = missing,
            Report::Ended(Err(reason)) => return Err(SupervisorError::NotBegun(reason)),
            _ => return Err(SupervisorError::Unexpected),
        }
        Ok(supervisor)
    }

    /// What programs are not cut off from on this machine; nothing in a guest.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// The number of its process.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Draws a run id, which the program's owner signs, and which is taken once.
    ///
    /// # Errors
    /// If `pad-runner` gives none.
    pub fn draw(&mut self, now: u64) -> Result<RunId, SupervisorError> {
        self.wire.send(&Command::Draw(now))?;
        match self.wire.receive()? {
            Report::Drawn(run) => Ok(run),
            Report::Ended(Err(reason)) => Err(SupervisorError::NotDrawn(reason)),
            _ => Err(SupervisorError::Unexpected),
        }
    }

    /// Runs a program to its end.
    ///
    /// # Errors
    /// If the conversation with `pad-runner` fails; it is of no more use then. A run that is
    /// refused is an outcome.
    pub fn run(
        &mut self,
        job: Job,
        delegator: &mut dyn Delegator,
    ) -> Result<Outcome, SupervisorError> {
        let mut outputs = Vec::new();
        let outcome = self.run_into(job, delegator, &mut outputs)?;
        Ok(Outcome { outputs, ..outcome })
    }

    /// The same with something that takes the outputs; the outcome has none.
    ///
    /// # Errors
    /// As [`Self::run`], and if an output cannot be taken.
    pub fn run_into(
        &mut self,
        job: Job,
        delegator: &mut dyn Delegator,
        outputs: &mut dyn Outputs,
    ) -> Result<Outcome, SupervisorError> {
        let (engines, pads) = (count(job.engines.len())?, count(job.pads.len())?);
        let Job { run: id, exporter, now, plain, signed, parties, limits, .. } = job;
        let submitted =
            Submitted { id, exporter, now, limits, engines, pads, plain, signed, parties };
        self.wire.send(&Command::Submit(Box::new(submitted)))?;
        let passed: Vec<_> = [job.program].into_iter().chain(job.engines).chain(job.pads).collect();
        files::send(self.wire.stream(), &passed).map_err(SupervisorError::Files)?;
        drop(passed);
        self.answer(delegator, outputs)
    }

    /// Replaces the policies of a Pad, if its owners and engines agree. An outcome has no outputs:
    /// the new Pad is in its file.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn update(
        &mut self,
        update: Replacement,
        delegator: &mut dyn Delegator,
    ) -> Result<Outcome, SupervisorError> {
        let Replacement { run: id, now, engines, pad, out, policies, signed, party } = update;
        let run = Submitted {
            id,
            exporter: [0; 32],
            now,
            limits: Limits::default(),
            engines: count(engines.len())?,
            pads: 1,
            plain: None,
            signed: None,
            parties: vec![party],
        };
        let policies = policies.iter().map(stated).collect();
        let contents = Contents { policies, attributes: Vec::new() };
        let replacement = conversation::Replacement { run, contents, signed };
        self.wire.send(&Command::Update(Box::new(replacement)))?;
        let passed: Vec<_> = [out].into_iter().chain(engines).chain([pad]).collect();
        files::send(self.wire.stream(), &passed).map_err(SupervisorError::Files)?;
        drop(passed);
        self.answer(delegator, &mut Vec::new())
    }

    /// Answers until the run has ended.
    fn answer(
        &mut self,
        delegator: &mut dyn Delegator,
        outputs: &mut dyn Outputs,
    ) -> Result<Outcome, SupervisorError> {
        let mut refusals = Vec::new();
        loop {
            let answer = match self.wire.receive()? {
                Report::Keys(request) => match delegator.keys(&request) {
                    Ok(keys) => Command::Keys(keys),
                    Err(denied) => Command::Denied(denied),
                },
                Report::Spend(run, uses) => done(delegator.spend(run, &uses)),
                Report::Keep(key) => done(keep(&key, delegator)),
                Report::Audit(entry) => done(delegator.audit(&entry)),
                Report::Update(key) => done(replace(&key, delegator)),
                Report::Pad(length) => {
                    self.pass(Kind::Pad, length, outputs)?;
                    continue;
                }
                Report::Plain(length) => {
                    self.pass(Kind::Plain, length, outputs)?;
                    continue;
                }
                Report::Refusal(refusal) if refusals.len() < MAX_REFUSALS => {
                    refusals.push(refusal);
                    continue;
                }
                Report::Refusal(_) => continue,
                Report::Ended(ended) => {
                    return Ok(Outcome { ended, outputs: Vec::new(), refusals });
                }
                Report::Begun(_) | Report::Drawn(_) | Report::Part(_) => {
                    return Err(SupervisorError::Unexpected);
                }
            };
            self.wire.send(&answer)?;
        }
    }

    fn pass(
        &mut self,
        kind: Kind,
        length: u64,
        outputs: &mut dyn Outputs,
    ) -> Result<(), SupervisorError> {
        if length > MAX_SEALED_BYTES {
            return Err(SupervisorError::TooLarge(length));
        }
        outputs.begin(kind, length).map_err(SupervisorError::Output)?;
        let mut left = length;
        while left > 0 {
            match self.wire.receive()? {
                Report::Part(part) if part.len() as u64 <= left => {
                    outputs.part(&part).map_err(SupervisorError::Output)?;
                    left -= part.len() as u64;
                }
                _ => return Err(SupervisorError::Unexpected),
            }
        }
        Ok(())
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // Both fail only for a process that has been waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn count(found: usize) -> Result<u32, SupervisorError> {
    u32::try_from(found).map_err(|_| SupervisorError::TooMany(found))
}

fn done(done: Result<(), Denied>) -> Command {
    done.map_or_else(Command::Denied, |()| Command::Done)
}

fn keep(kept: &KeyToKeep, delegator: &mut dyn Delegator) -> Result<(), Denied> {
    let key = DataKey::from_bytes(kept.key.clone());
    delegator.keep(&NewKey {
        run: kept.run,
        pad_id: kept.pad_id,
        key_id: kept.key_id.clone(),
        key: &key,
        custodian: kept.custodian,
        key_provider_id: kept.key_provider_id,
        engines: kept.engines.clone(),
        parents: kept.parents.clone(),
    })
}

fn replace(new: &KeyOfUpdate, delegator: &mut dyn Delegator) -> Result<(), Denied> {
    let key = DataKey::from_bytes(new.key.clone());
    delegator.update(&UpdatedKey {
        run: new.run,
        old: new.old.clone(),
        key_id: new.key_id.clone(),
        key: &key,
        signed: new.signed.clone(),
    })
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// a program that cannot be started
    #[error("start pad-runner: {0}")]
    Start(io::Error),
    /// a path that cannot be told
    #[error("the path of the cache is no UTF-8")]
    Path,
    /// more engines or Pads than can be counted
    #[error("{0} files are too many for a run")]
    TooMany(usize),
    /// files that could not be passed
    #[error("pass files to pad-runner: {0}")]
    Files(io::Error),
    /// the stream
    #[error("pad-runner: {0}")]
    Wire(#[from] WireError),
    /// processes that are not cut off from everything, in a guest
    #[error("pad-runner does not begin: {0}")]
    NotBegun(String),
    /// no run id
    #[error("pad-runner drew no run id: {0}")]
    NotDrawn(String),
    /// an output that cannot be
    #[error("pad-runner sends an output of {0} bytes, at most {MAX_SEALED_BYTES} are accepted")]
    TooLarge(u64),
    /// an output that could not be taken
    #[error("take an output: {0}")]
    Output(io::Error),
    /// a frame that does not come here
    #[error("pad-runner sent a frame out of order")]
    Unexpected,
}
