//! The process that runs programs on Pads for its supervisor.
//!
//! Its standard input is the stream to the supervisor, which is the only way to anywhere: it has no
//! network, and is given Pads, engines and programs as open files. It faces all of these. What it
//! asks the supervisor for is judged here again by `pad-pipeline`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use pad_format::Policy;
use pad_format::enrolment::SignedEnrolment;
use pad_format::metadata::Uri;
use pad_format::reader::SealedPad;
use pad_format::run::SignedRun;
use pad_format::update::SignedUpdate;
use pad_pipeline::conversation::{Command, Replacement, Report, Submitted};
use pad_pipeline::engines::PlainInput;
use pad_pipeline::output::{self, Output};
use pad_pipeline::session::Outcome;
use pad_pipeline::{Runs, Session, Submission, update};
use pad_run::MAX_WINDOW_BYTES;
use pad_run::wire::{Wire, WireError};
use protocol::digest::Sha256Digest;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, setrlimit};
use zeroize::Zeroizing;

use self::asker::Asker;
use self::files::Positioned;
pub use self::run::Loaded;
use self::run::Run;
use crate::artefact::{Artefact, Cache, CacheKey};
use crate::compile::CompileLimits;
use crate::component;
use crate::consumer::middleware::{self, ConsumerLimits, Job};
use crate::consumer::{self, Compiler};
use crate::engines::{self, EngineLimits, Engines, PolicyEngine};
use crate::runner::{Runner, Setting};

mod asker;
mod files;
mod run;

/// The argument that makes the program this process.
pub const ROLE: &str = "serve";
/// The argument after it on an author's machine, where processes may be cut off from less.
pub const LOCAL: &str = "local";
/// Engines that are kept ready between runs.
const MAX_READY: usize = 64;
/// The program's own file, in the process that is to become a consumer's.
const ITSELF: &str = "/proc/self/exe";

/// The setting that the arguments of this process name; `None` if they are another's.
pub fn setting(arguments: &[OsString]) -> Option<Setting> {
    match arguments {
        [role] if role == ROLE => Some(Setting::Guest),
        [role, local] if role == ROLE && local == LOCAL => Some(Setting::Local),
        _ => None,
    }
}

/// Serves until the supervisor closes the stream.
pub fn main(setting: Setting) -> ExitCode {
    match serve(setting) {
        Ok(()) | Err(ServeError::Wire(WireError::Closed)) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(setting: Setting) -> Result<(), ServeError> {
    hide()?;
    let stream = rustix::stdio::stdin().try_clone_to_owned()?;
    let mut wire = Wire::new(UnixStream::from(stream));
    let Command::Begin(cache) = wire.receive()? else { return Err(ServeError::Unexpected) };
    let cache = cache.map(|cache| Cache::new(Path::new(&cache.path), CacheKey::new(cache.key)));
    let runner = match Runner::open(Path::new(ITSELF), setting) {
        Ok(runner) => Arc::new(runner),
        Err(error) => return Ok(wire.send(&Report::Ended(Err(error.to_string())))?),
    };
    let missing = runner.missing().iter().map(ToString::to_string);
    wire.send(&Report::Begun(missing.collect()))?;
    let mut server = Server {
        engines: Engines::new(EngineLimits::default(), Arc::clone(&runner))?,
        compiler: Compiler::new(CompileLimits::CONSUMER, Arc::clone(&runner))?,
        runner,
        ready: BTreeMap::new(),
        cache,
        runs: Runs::default(),
    };
    loop {
        match wire.receive()? {
            Command::Draw(now) => wire.send(&match server.runs.draw(now) {
                Ok(run) => Report::Drawn(run),
                Err(error) => Report::Ended(Err(error.to_string())),
            })?,
            Command::Submit(submitted) => {
                let files = files::receive(wire.stream(), submitted.files())?;
                let ended = server.run(*submitted, files, &mut wire)?;
                wire.send(&Report::Ended(ended))?;
            }
            Command::Update(update) => {
                let files = files::receive(wire.stream(), update.run.files())?;
                let ended = server.update(*update, files, &mut wire)?;
                wire.send(&Report::Ended(ended))?;
            }
            _ => return Err(ServeError::Unexpected),
        }
    }
}

/// No core file, no debugger, and room for the files of a large run.
fn hide() -> io::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })?;
    Ok(())
}

struct Server {
    runner: Arc<Runner>,
    engines: Engines,
    compiler: Compiler,
    ready: BTreeMap<Sha256Digest, PolicyEngine>,
    cache: Option<Cache>,
    runs: Runs,
}

/// A run that may begin, and its program.
struct Ready {
    program: Artefact,
    submission: Submission<Positioned>,
    engines: Vec<Sha256Digest>,
}

/// Other policies for a Pad, which may be replaced.
struct Update {
    submission: Submission<Positioned>,
    policies: Vec<Policy>,
    signed: SignedUpdate,
    out: File,
}

impl Server {
    /// One run. The outer error is one of the conversation, which ends with it.
    fn run(
        &mut self,
        mut submitted: Submitted,
        files: Vec<File>,
        wire: &mut Wire<UnixStream>,
    ) -> Result<Result<(), String>, ServeError> {
        let plain = submitted.plain.take();
        let ready = match self.ready(&submitted, plain.as_ref(), files) {
            Ok(ready) => ready,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let Ready { program, submission, engines } = ready;
        let helpers = submission.helpers;
        let pads = submitted.pads;
        let accepted = match submission.accept(&mut self.runs) {
            Ok(accepted) => accepted,
            Err(refusal) => {
                wire.send(&Report::Refusal(refusal.to_string()))?;
                return Ok(Err("the run was not accepted".to_owned()));
            }
        };
        let job = Job {
            program: &program,
            pads,
            plain: plain.as_ref().map_or(&[], |plain| plain),
            limits: limits(&submitted, helpers),
        };
        let mut loaded = Loaded::new(&self.ready);
        let mut asker = Asker::new(wire);
        let mut run = Run::new(Session::new(accepted, &mut loaded, &mut asker));
        let ended = middleware::run(&self.runner, &job, &mut run);
        let outcome = run.finish();
        asker.finish()?;
        tell(wire, outcome)?;
        self.forget(&engines);
        Ok(ended.map_err(|error| error.to_string()))
    }

    fn ready(
        &mut self,
        submitted: &Submitted,
        plain: Option<&Zeroizing<Vec<u8>>>,
        files: Vec<File>,
    ) -> Result<Ready, NotReady> {
        let mut files = files.into_iter();
        let program = component_of(&mut files, consumer::MAX_BYTES)?;
        let (compiled, _) = self
            .compiler
            .compile(&program, self.cache.as_ref())
            .map_err(|refused| NotReady::Component("program", refused))?;
        let digest = Sha256Digest(component::digest(&program));
        let helpers = consumer::helpers(&program);
        let mut submission = self.submission(submitted, digest, &mut files)?;
        submission.helpers = helpers.map_err(|refused| NotReady::Component("program", refused))?;
        submission.plain = plain
            .map(|plain| PlainInput { digest: Sha256Digest::of(plain), bytes: plain.len() as u64 });
        let engines = submission.engines.clone();
        Ok(Ready { program: compiled, submission, engines })
    }

    /// What is submitted, with the engines and Pads that are the next files.
    fn submission(
        &mut self,
        submitted: &Submitted,
        program: Sha256Digest,
        files: &mut std::vec::IntoIter<File>,
    ) -> Result<Submission<Positioned>, NotReady> {
        let engines = (0..submitted.engines)
            .map(|_| self.engine(&component_of(files, engines::MAX_BYTES)?))
            .collect::<Result<_, _>>()?;
        let sealed = |pad| SealedPad::read(pad).map_err(|error| NotReady::Pad(error.to_string()));
        let pads = (0..submitted.pads).map(|_| next(files).and_then(sealed));
        let pads = pads.collect::<Result<_, _>>()?;
        let signed = submitted.signed.as_deref().map(SignedRun::parse).transpose();
        Ok(Submission {
            id: submitted.id,
            exporter: submitted.exporter,
            now: submitted.now,
            program,
            engines,
            pads,
            helpers: &[],
            plain: None,
            signed: signed.map_err(|error| NotReady::Document(error.to_string()))?,
            parties: submitted.parties.iter().map(party).collect::<Result<_, _>>()?,
        })
    }

    /// Replaces the policies of a Pad, in a file that is the last one.
    fn update(
        &mut self,
        update: Replacement,
        files: Vec<File>,
        wire: &mut Wire<UnixStream>,
    ) -> Result<Result<(), String>, ServeError> {
        let ready = self.ready_update(&update, files);
        let Update { submission, policies, signed, out } = match ready {
            Ok(ready) => ready,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let mut loaded = Loaded::new(&self.ready);
        let mut asker = Asker::new(wire);
        let accepted = submission.accept(&mut self.runs).map_err(|refusal| vec![refusal]);
        let allowed = accepted.and_then(|accepted| {
            update::check(accepted, policies, &signed, &mut loaded, &mut asker)
        });
        let updated = allowed.and_then(|allowed| {
            let (out, sealed) = allowed.seal(out).map_err(|refusal| vec![refusal])?;
            // The old key is given to nobody any more once the new one is handed over.
            out.sync_all().map_err(|error| vec![update::not_lasting(&error)])?;
            sealed.hand_over(&mut asker).map_err(|refusal| vec![refusal])
        });
        asker.finish()?;
        let refusals = updated.err().unwrap_or_default();
        for refusal in &refusals {
            wire.send(&Report::Refusal(refusal.to_string()))?;
        }
        let ended = "the policies were not replaced";
        Ok(if refusals.is_empty() { Ok(()) } else { Err(ended.to_owned()) })
    }

    fn ready_update(&mut self, update: &Replacement, files: Vec<File>) -> Result<Update, NotReady> {
        let mut files = files.into_iter();
        let out = files.next().ok_or(NotReady::Files)?;
        let submission = self.submission(&update.run, Sha256Digest::ZERO, &mut files)?;
        let document = |error: &dyn std::error::Error| NotReady::Document(error.to_string());
        let signed = SignedUpdate::parse(&update.signed).map_err(|error| document(&error))?;
        let policies = update.contents.policies.iter().cloned().map(output::policy);
        let policies = policies.collect::<Result<_, _>>().map_err(|error| document(&error))?;
        Ok(Update { submission, policies, signed, out })
    }

    /// Makes an engine ready, unless it is.
    fn engine(&mut self, component: &[u8]) -> Result<Sha256Digest, NotReady> {
        let digest = Sha256Digest(component::digest(component));
        if !self.ready.contains_key(&digest) {
            let loaded = self.engines.load(digest.0, component, self.cache.as_ref());
            let (engine, _) = loaded.map_err(|refused| NotReady::Component("engine", refused))?;
            self.ready.insert(digest, engine);
        }
        Ok(digest)
    }

    /// Keeps the engines of the last run alone once there are many.
    fn forget(&mut self, last: &[Sha256Digest]) {
        if self.ready.len() > MAX_READY {
            self.ready.retain(|engine, _| last.contains(engine));
        }
    }
}

fn limits(submitted: &Submitted, helpers: &[&str]) -> ConsumerLimits {
    let limits = submitted.limits;
    ConsumerLimits {
        memory_bytes: limits.memory_bytes,
        helper_bytes: consumer::helper_bytes(helpers),
        table_elements: limits.table_elements,
        data_bytes: limits.data_bytes,
        wall: Duration::from_millis(limits.wall_millis),
        proposals: limits.proposals,
    }
}

/// The bytes of a component, which is refused later if there are more than its world takes.
fn component_of(files: &mut std::vec::IntoIter<File>, most: usize) -> Result<Vec<u8>, NotReady> {
    let mut bytes = Vec::new();
    next(files)?.take(most as u64 + 1).read_to_end(&mut bytes).map_err(NotReady::File)?;
    Ok(bytes)
}

fn next(files: &mut std::vec::IntoIter<File>) -> Result<Positioned, NotReady> {
    let file = files.next().ok_or(NotReady::Files)?;
    Positioned::new(file).map_err(NotReady::File)
}

fn party((signed, address): &(Vec<u8>, String)) -> Result<(SignedEnrolment, Uri), NotReady> {
    let document = |error: &dyn std::error::Error| NotReady::Document(error.to_string());
    let signed = SignedEnrolment::parse(signed).map_err(|error| document(&error))?;
    Ok((signed, Uri::new(address).map_err(|error| document(&error))?))
}

/// Tells what left and what did not.
fn tell(wire: &mut Wire<UnixStream>, outcome: Outcome) -> Result<(), WireError> {
    for refusal in outcome.refusals {
        wire.send(&Report::Refusal(refusal.to_string()))?;
    }
    for output in outcome.outputs {
        let bytes = match output {
            Output::Pad { bytes, .. } => {
                wire.send(&Report::Pad(bytes.len() as u64))?;
                bytes
            }
            Output::Plain(bytes) => {
                wire.send(&Report::Plain(bytes.len() as u64))?;
                bytes
            }
        };
        for part in bytes.chunks(MAX_WINDOW_BYTES as usize) {
            wire.send(&Report::Part(Zeroizing::new(part.to_vec())))?;
        }
    }
    Ok(())
}

/// Why a run does not begin.
#[derive(Debug, thiserror::Error)]
enum NotReady {
    /// fewer files than were stated
    #[error("fewer files were submitted than stated")]
    Files,
    /// a file that cannot be read
    #[error("a submitted file: {0}")]
    File(io::Error),
    /// a component that is not run
    #[error("the {0}: {1}")]
    Component(&'static str, crate::Refused),
    /// a file that is no Pad
    #[error("a submitted Pad: {0}")]
    Pad(String),
    /// a signed document that is none
    #[error("a submitted document: {0}")]
    Document(String),
}

/// Why the conversation ends.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    /// the stream
    #[error(transparent)]
    Wire(#[from] WireError),
    /// the operating system
    #[error(transparent)]
    System(#[from] io::Error),
    /// the engine of WebAssembly
    #[error("wasmtime: {0}")]
    Wasmtime(#[from] wasmtime::Error),
    /// a frame that does not come here
    #[error("the supervisor sent a frame out of order")]
    Unexpected,
}

impl From<rustix::io::Errno> for ServeError {
    fn from(error: rustix::io::Errno) -> Self {
        Self::System(error.into())
    }
}
