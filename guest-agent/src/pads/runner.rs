//! `pad-runner` as this agent's child: one thread starts it, gives it work and answers for it.
//!
//! It is started when it is first needed, and again when it ended; who waits for it then is told.
//! It ends with its agent, because its stream does. The thread is its own, so that a run of minutes
//! keeps neither the agent's answers nor its other blocking work waiting.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use pad_format::run::RunId;
use pad_supervisor::{
    Job, Outcome, Outputs, Place, Replacement, Settings, Supervisor, SupervisorError,
};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::delegators::Delegators;
use super::program::{PACKED, Program};

/// Calls that may wait while another one goes on: one of each service, and then some.
const MAX_WAITING: usize = 16;
/// How willingly the kernel ends it when memory ends: as it does an ordinary program, and not as
/// late as the agent, whose score it would have.
const OOM_SCORE: &str = "0";
/// Programs whose compiled code is kept; one that comes again after more is compiled again.
const MAX_CODE_FILES: usize = 64;

/// Why `pad-runner` did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// too many wait
    #[error("{MAX_WAITING} calls are waiting for other runs already")]
    Busy,
    /// the thread was lost
    #[error("the call was lost")]
    Lost,
    /// the image's file
    #[error("{PACKED}: {0}")]
    Program(io::Error),
    /// its process
    #[error("pad-runner: {0}")]
    Process(io::Error),
    /// the conversation
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
}

type Task = Box<dyn FnOnce(&mut Bench) + Send>;

/// Where work for `pad-runner` is left.
#[derive(Debug)]
pub struct Runner(SyncSender<Task>);

impl Runner {
    /// Starts the thread; `pad-runner` itself is started when it is needed.
    ///
    /// # Errors
    /// If there is no thread.
    pub fn start(bench: Bench) -> io::Result<Self> {
        let (work, tasks) = sync_channel(MAX_WAITING);
        thread::Builder::new().name("pads".into()).spawn(move || work_off(&tasks, bench))?;
        Ok(Self(work))
    }

    /// Has something done. It is done to its end, whether or not its answer is waited for.
    ///
    /// # Errors
    /// If too many others wait.
    pub async fn ask<T: Send + 'static>(
        &self,
        task: impl FnOnce(&mut Bench) -> T + Send + 'static,
    ) -> Result<T, RunnerError> {
        let (done, answer) = oneshot::channel();
        // Nobody may be there any more.
        let task: Task = Box::new(move |bench| drop(done.send(task(bench))));
        self.0.try_send(task).map_err(|_| RunnerError::Busy)?;
        answer.await.map_err(|_| RunnerError::Lost)
    }
}

fn work_off(tasks: &Receiver<Task>, mut bench: Bench) {
    while let Ok(task) = tasks.recv() {
        task(&mut bench);
    }
}

/// What the thread has.
pub struct Bench {
    delegators: Delegators,
    /// Compiled code on the data disk, and the key of its MACs.
    code: (PathBuf, Zeroizing<[u8; 32]>),
    program: Option<Program>,
    supervisor: Option<Supervisor>,
}

impl Bench {
    /// Without a process yet.
    pub fn new(delegators: Delegators, code: (PathBuf, Zeroizing<[u8; 32]>)) -> Self {
        Self { delegators, code, program: None, supervisor: None }
    }

    /// Draws a run id.
    ///
    /// # Errors
    /// If `pad-runner` cannot be started, or has none.
    pub fn draw(&mut self, now: u64) -> Result<RunId, RunnerError> {
        if let Some(supervisor) = &mut self.supervisor {
            match supervisor.draw(now) {
                Ok(run) => return Ok(run),
                Err(error @ SupervisorError::NotDrawn(_)) => return Err(error.into()),
                // It ended while nobody asked.
                Err(error) => tracing::warn!("{error}; it is started again"),
            }
            self.supervisor = None;
        }
        Ok(self.started()?.0.draw(now)?)
    }

    /// Runs a program to its end.
    ///
    /// # Errors
    /// If the conversation with `pad-runner` fails.
    pub fn run(&mut self, job: Job, outputs: &mut dyn Outputs) -> Result<Outcome, RunnerError> {
        let (run, parties) = (job.run, job.parties.clone());
        let (supervisor, delegators) = self.started()?;
        let outcome = supervisor.run_into(job, &mut delegators.of_run(run, &parties), outputs);
        self.ended(outcome)
    }

    /// Replaces the policies of a Pad.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn update(&mut self, update: Replacement) -> Result<Outcome, RunnerError> {
        let (run, parties) = (update.run, [update.party.clone()]);
        let (supervisor, delegators) = self.started()?;
        let outcome = supervisor.update(update, &mut delegators.of_run(run, &parties));
        self.ended(outcome)
    }

    /// A process after a conversation that failed is of no more use.
    fn ended(&mut self, outcome: Result<Outcome, SupervisorError>) -> Result<Outcome, RunnerError> {
        if outcome.is_err() {
            self.supervisor = None;
        }
        self.forget_code();
        Ok(outcome?)
    }

    fn started(&mut self) -> Result<(&mut Supervisor, &mut Delegators), RunnerError> {
        if self.program.is_none() {
            let program = Program::unpack(Path::new(PACKED)).map_err(RunnerError::Program)?;
            self.program = Some(program);
        }
        if let (Some(program), None) = (&self.program, &self.supervisor) {
            let (directory, key) = &self.code;
            let cache = Some((directory.as_path(), key.clone()));
            let settings = Settings { runner: &program.path(), cache, place: Place::Guest };
            let supervisor = Supervisor::start(settings)?;
            let score = format!("/proc/{}/oom_score_adj", supervisor.process_id());
            fs::write(score, OOM_SCORE).map_err(RunnerError::Process)?;
            self.supervisor = Some(supervisor);
        }
        let supervisor = self.supervisor.as_mut().ok_or(RunnerError::Lost)?;
        Ok((supervisor, &mut self.delegators))
    }

    /// Bounds what submitters of ever new programs leave on the data disk.
    fn forget_code(&self) {
        let (directory, _) = &self.code;
        let count = fs::read_dir(directory).map_or(0, Iterator::count);
        if count > MAX_CODE_FILES
            && let Err(error) = emptied(directory)
        {
            tracing::warn!("{}: {error}", directory.display());
        }
    }
}

fn emptied(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        fs::remove_file(entry?.path())?;
    }
    Ok(())
}
