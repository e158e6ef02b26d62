//! What carries an app out: asks the machine what is to be done, does it, and writes down what
//! happened.
//!
//! One task holds the machine; whatever takes time is done by tasks of its own, which report. What
//! the machine remembers is written down before it is acted on, so that the driver of a later agent
//! goes on where this one was: containers, networks and rules outlive both.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use container_helper::End;
use container_images::{Registries, RegistryError};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, watch};

use super::AppSpec;
use super::board::Board;
use super::history::Happening;
use super::machine::{
    Action, Check, Input, Instance, Judgement, Machine, Phase, Plan, Subject, Time,
};
use super::status::{AppState, ContainerStatus, Failure, FailureKind, ImageFault, PullStatus};
use crate::container::Launcher;
use crate::network::{NetworkError, Networks};

mod memory;
mod programs;
mod pulling;
mod tasks;

use memory::MemoryFile;
use programs::{ProgramReport, Programs};
use pulling::{Outcome, Pulls, Source};
use tasks::{InstanceTasks, Started, Workshop};

/// How long all services together may take to end; init gives the agent a little more, `dstyx down`
/// the guest.
pub const STOP_BUDGET: Duration = Duration::from_secs(80);
/// How often the progress of pulls is shown.
const PULL_TICK: Duration = Duration::from_millis(500);

/// The app's life, until `stop` is true and everything has ended.
pub(super) async fn drive(spec: AppSpec, board: Arc<Board>, mut stop: watch::Receiver<bool>) {
    match Driver::open(spec, Arc::clone(&board)).await {
        Ok(driver) => driver.run(&mut stop).await,
        Err(error) => {
            board.happened(None, Happening::Failed { message: error.to_string() });
            board.set_state(AppState::Failed(Failure {
                kind: error.kind(),
                message: error.to_string(),
            }));
            let _ = stop.wait_for(|stop| *stop).await;
        }
    }
    board.happened(None, Happening::AppStopped);
    board.set_state(AppState::Stopped);
}

/// What tasks tell the driver.
enum TaskReport {
    /// Whether the image of a service can be had.
    Image { service: usize, outcome: Outcome },
    /// The image of a service is asked for again after a wait.
    ImageDelayed { service: usize, fault: ImageFault, wait: Duration, failing: bool },
    /// What became of a program's pull.
    Program(ProgramReport),
    /// A start is done.
    Started { instance: usize, started: Result<Started, String> },
    /// A container has ended.
    Ended { instance: usize, end: End },
    /// A health check is done.
    Checked { instance: usize, run: u32, result: Result<(), String> },
}

struct Driver {
    board: Arc<Board>,
    machine: Machine,
    file: MemoryFile,
    workshop: Arc<Workshop>,
    pulls: Pulls,
    programs: Programs,
    /// In the order of the machine's instances.
    tasks: Vec<InstanceTasks>,
    reports: mpsc::UnboundedReceiver<TaskReport>,
    /// Whether an earlier driver's memory was found.
    resumed: bool,
}

impl Driver {
    /// Finds what an earlier agent left, or begins anew, and begins to pull.
    async fn open(mut spec: AppSpec, board: Arc<Board>) -> Result<Self, AppError> {
        for directory in [&spec.run_dir, &spec.log_dir] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
            made.map_err(|error| AppError::directory(directory, error))?;
        }
        let source = source(&mut spec).await?;
        let file = MemoryFile::new(&spec.run_dir);
        let memory = file.read().map_err(|error| AppError::directory(&spec.run_dir, error))?;
        let plan = Plan::of(&spec.compose.services);
        let machine = memory.and_then(|memory| Machine::resume(plan.clone(), memory));
        let resumed = machine.is_some();
        let machine = machine.unwrap_or_else(|| Machine::new(plan.clone()));
        let networks = Networks::open(&spec.compose, &spec.run_dir, &spec.resolv_conf).await?;
        let AppSpec { compose, run_dir, data_dir, log_dir, helper, sockets, .. } = spec;
        let launcher = Launcher { helper, run_dir, data_dir, log_dir, sockets };
        let workshop = Arc::new(Workshop { compose, launcher, networks });
        let (sender, reports) = mpsc::unbounded_channel();
        let pulls = Pulls::start(&workshop.compose.services, &plan, &source, &sender);
        let programs = Programs::start(&workshop.compose.programs, &source, &sender);
        let tasks = |instance: &Instance| {
            InstanceTasks::new(
                &workshop,
                instance.service,
                instance.replica,
                pulls.outcome(instance.service),
                &sender,
            )
        };
        let tasks = machine.instances().iter().map(tasks).collect();
        Ok(Self { board, machine, file, workshop, pulls, programs, tasks, reports, resumed })
    }

    async fn run(mut self, stop: &mut watch::Receiver<bool>) {
        self.take_over().await;
        self.tell(Input::Timer);
        while !(self.machine.is_stopping() && self.machine.is_over()) {
            let stopping = self.machine.is_stopping();
            tokio::select! {
                Some(report) = self.reports.recv() => self.hear(report),
                _ = stop.wait_for(|stop| *stop), if !stopping => self.tell(Input::Stop { within: STOP_BUDGET }),
                () = until(self.machine.due()) => self.tell(Input::Timer),
                () = tokio::time::sleep(PULL_TICK), if self.is_pulling() => self.show(),
            }
        }
        self.clear().await;
    }

    /// Finds the containers that shall run; without a memory, whatever is left is removed.
    async fn take_over(&mut self) {
        for instance in 0..self.tasks.len() {
            if self.resumed && !self.machine.instances()[instance].is_alive() {
                continue;
            }
            let input = match self.tasks[instance].find().await {
                Ok(None) => Input::Missing { instance },
                // A start that was under way when its agent ended, and failed for that alone.
                Ok(Some(found)) if self.resumed && self.is_cut_short(instance, &found) => {
                    match found.remove().await {
                        Ok(()) => Input::Missing { instance },
                        Err(error) => failed(instance, &error),
                    }
                }
                Ok(Some(found)) if self.resumed => match self.tasks[instance].keep(instance, found)
                {
                    Some(pid) => Input::Running { instance, pid },
                    // Its end is reported.
                    None => continue,
                },
                Ok(Some(found)) => match found.remove().await {
                    Ok(()) => continue,
                    Err(error) => failed(instance, &error),
                },
                Err(error) => failed(instance, &error),
            };
            self.tell(input);
        }
    }

    fn is_cut_short(&self, instance: usize, found: &Started) -> bool {
        self.machine.instances()[instance].phase == Phase::Starting && found.has_failed()
    }

    fn hear(&mut self, report: TaskReport) {
        let input = match report {
            TaskReport::Program(report) => {
                let (service, happening) = self.programs.hear(report);
                self.board.happened(Some(service), happening);
                self.pulls.collect(self.programs.pulled());
                return self.show();
            }
            TaskReport::Image { service, outcome } => {
                self.pulls.collect(self.programs.pulled());
                self.image(service, outcome)
            }
            TaskReport::ImageDelayed { service, fault, wait, failing } => {
                Input::ImageDelayed { service, fault, wait, failing }
            }
            TaskReport::Started { instance, started: Ok(started) } => {
                match self.tasks[instance].keep(instance, started) {
                    Some(pid) => Input::Running { instance, pid },
                    // It has ended already: a run without length, whose end is reported next.
                    None => Input::Running { instance, pid: 0 },
                }
            }
            TaskReport::Started { instance, started: Err(message) } => {
                Input::Ended { instance, end: End::Failed { message } }
            }
            TaskReport::Ended { instance, end } => Input::Ended { instance, end },
            TaskReport::Checked { instance, run, result } => {
                Input::Checked { instance, run, result }
            }
        };
        self.tell(input);
    }

    fn image(&self, service: usize, outcome: Outcome) -> Input {
        let of = &self.workshop.compose.services[service];
        match outcome {
            Ok(image) => {
                for message in &image.notes {
                    let note = Happening::Note { message: message.clone() };
                    self.board.happened(Some(&of.name), note);
                }
                self.board
                    .happened(Some(&of.name), Happening::Pulled { image: of.image.to_string() });
                Input::ImageHere {
                    service,
                    check: Check::of(&of.health, image.config.health.as_ref()),
                }
            }
            Err(fault) => Input::ImageRefused { service, fault },
        }
    }

    /// Tells the machine, writes down what it remembers, and does what it says.
    fn tell(&mut self, input: Input) {
        let actions = self.machine.take(now(), input);
        if let Err(error) = self.file.write(self.machine.memory()) {
            tracing::warn!(%error, "writing the app's state failed: a new agent would not know of it");
        }
        for action in actions {
            self.act(action);
        }
        self.show();
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Start(instance) => self.tasks[instance].start(instance),
            Action::Ask(instance) => self.tasks[instance].ask(),
            Action::Kill(instance) => self.tasks[instance].kill(),
            Action::Check { instance, run, check } => {
                self.tasks[instance].check(instance, run, check)
            }
            Action::Tell(Subject::Instance(instance), what) => {
                self.board.happened(Some(&self.tasks[instance].id), what)
            }
            Action::Tell(Subject::Service(service), what) => {
                self.board.happened(Some(&self.workshop.compose.services[service].name), what);
            }
        }
    }

    fn show(&self) {
        let containers = self
            .machine
            .instances()
            .iter()
            .zip(&self.tasks)
            .map(|(instance, tasks)| status(instance, tasks))
            .collect();
        let handles = self
            .tasks
            .iter()
            .filter_map(|tasks| Some((tasks.id.clone(), tasks.container()?)))
            .collect();
        self.board.set_containers(containers, handles);
        self.board.set_programs(self.programs.statuses());
        let state = match (self.machine.judge(), self.programs.failure()) {
            _ if self.machine.is_stopping() => AppState::Stopping,
            (Judgement::Failed(failure), _) | (_, Some(failure)) => AppState::Failed(failure),
            _ if self.is_pulling() => AppState::Pulling(self.pull_status()),
            (Judgement::Starting, None) => AppState::Starting,
            (Judgement::Running, None) => AppState::Running,
        };
        let became = self.board.set_state(state.clone());
        if became && state == AppState::Running {
            self.board.happened(None, Happening::AppRunning);
        }
    }

    /// Whether an image or a program may come yet.
    fn is_pulling(&self) -> bool {
        self.machine.awaited().next().is_some() || self.programs.is_awaited()
    }

    fn pull_status(&self) -> PullStatus {
        let delayed = self.machine.delayed().or_else(|| self.programs.delayed());
        let all = self.pulls.progress().iter().chain(self.programs.progress());
        PullStatus { delayed, ..pulling::status(all) }
    }

    /// Removes what containers had for themselves; named volumes and logs stay.
    async fn clear(self) {
        self.board.release();
        for tasks in self.tasks {
            let id = tasks.id.clone();
            if let Err(error) = tasks.clear().await {
                tracing::warn!("{id}: removing what is left of it failed: {error}");
            }
        }
        if let Some(Workshop { networks, .. }) = Arc::into_inner(self.workshop)
            && let Err(error) = networks.close().await
        {
            tracing::warn!("removing the networks failed: {error}");
        }
        if let Err(error) = self.file.remove() {
            tracing::warn!(%error, "forgetting the app's state failed");
        }
    }
}

fn failed(instance: usize, error: &dyn std::error::Error) -> Input {
    Input::Ended { instance, end: End::Failed { message: error.to_string() } }
}

fn status(instance: &Instance, tasks: &InstanceTasks) -> ContainerStatus {
    let service = tasks.service();
    ContainerStatus {
        service: service.name.clone(),
        id: tasks.id.clone(),
        image: service.image.to_string(),
        state: instance.state(),
        health: instance.health(),
        restarts: instance.restarts.total,
        started: instance
            .started
            .and_then(|started| SystemTime::now().checked_sub(now().saturating_sub(started))),
        addresses: tasks.addresses().to_vec(),
        ports: tasks.ports().to_vec(),
        labels: service.labels.clone(),
    }
}

/// Time since the machine's start: the same clock for every agent of this boot.
fn now() -> Time {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
    Time::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
}

async fn until(due: Option<Time>) {
    match due {
        Some(due) => tokio::time::sleep(due.saturating_sub(now())).await,
        None => std::future::pending().await,
    }
}

async fn source(spec: &mut AppSpec) -> Result<Source, AppError> {
    let registries = Registries::new(std::mem::take(&mut spec.registries))?;
    let store = pulling::open_store(&spec.store_dir)
        .await
        .map_err(|error| AppError::directory(&spec.store_dir, error))?;
    Ok(Source { registries: Arc::new(registries), store: Arc::new(store), limits: spec.limits })
}

/// Why an app cannot even be begun.
#[derive(Debug, thiserror::Error)]
enum AppError {
    /// mirrors or certificate roots are wrong
    #[error("registries: {0}")]
    Registries(#[from] RegistryError),
    /// a directory of the guest cannot be used
    #[error("{directory}: {error}")]
    Directory {
        /// The directory that was named.
        directory: String,
        /// The kernel's answer.
        error: io::Error,
    },
    /// the app's networks cannot be made
    #[error("network: {0}")]
    Network(#[from] NetworkError),
}

impl AppError {
    fn directory(directory: &Path, error: io::Error) -> Self {
        Self::Directory { directory: directory.display().to_string(), error }
    }

    fn kind(&self) -> FailureKind {
        match self {
            Self::Network(_) => FailureKind::Container,
            Self::Registries(_) | Self::Directory { .. } => FailureKind::Internal,
        }
    }
}
