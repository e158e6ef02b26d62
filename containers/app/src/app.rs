//! A whole app: from a compose file to running services, and to their end.
//!
//! The one entry for the agent. An [`App`] is a handle that exists from the first moment, also
//! while images are fetched or when nothing can be run: whoever answers for the guest holds one and
//! asks it. What it shows is written by one driver.

use std::path::PathBuf;
use std::sync::Arc;

use compose::ComposeFile;
use container_images::{Limits, RegistrySettings};
use tokio::sync::watch;

use crate::container::{Container, Sockets};

mod board;
mod driver;
mod history;
mod machine;
mod status;

pub use driver::STOP_BUDGET;
pub use history::{AppEvent, Happening, MAX_EVENTS};
pub use status::{
    AppState, Component, ContainerState, ContainerStatus, Failure, FailureKind, HealthState,
    ImageFault, ProgramState, ProgramStatus, PullStatus,
};

use board::Board;

/// What to run, and where its files go.
#[derive(Debug)]
pub struct AppSpec {
    /// The app.
    pub compose: ComposeFile,
    /// Whom images are asked from.
    pub registries: RegistrySettings,
    /// Directory of unpacked layers; outlives the app.
    pub store_dir: PathBuf,
    /// Directory of what a boot knows of its containers, networks and supervision; on tmpfs.
    pub run_dir: PathBuf,
    /// Directory of what containers write, and of volumes; on the data disk.
    pub data_dir: PathBuf,
    /// Directory of logs, `SERVICE-N.log` and older ones behind it.
    pub log_dir: PathBuf,
    /// Names the servers that the guest asks for names.
    pub resolv_conf: PathBuf,
    /// The agent's sockets, for services that ask for them.
    pub sockets: Sockets,
    /// The helper program.
    pub helper: PathBuf,
    /// What each image may take.
    pub limits: Limits,
}

/// An app from the moment that it was asked for to the end of the agent; cheap to clone.
#[derive(Debug, Clone)]
pub struct App {
    board: Arc<Board>,
    /// True once the app shall end.
    stop: Arc<watch::Sender<bool>>,
}

impl App {
    /// Starts the app, or takes over what of it runs already; returns at once.
    pub fn start(spec: AppSpec) -> Self {
        let images = spec.compose.services.len() + spec.compose.programs.len();
        let app = Self::in_state(AppState::Pulling(PullStatus { images, ..PullStatus::default() }));
        tokio::spawn(driver::drive(spec, Arc::clone(&app.board), app.stop.subscribe()));
        app
    }

    /// An app that cannot even be tried.
    pub fn failed(failure: Failure) -> Self {
        Self::in_state(AppState::Failed(failure))
    }

    fn in_state(state: AppState) -> Self {
        Self { board: Arc::new(Board::new(state)), stop: Arc::default() }
    }

    /// How far it is.
    pub fn state(&self) -> AppState {
        self.board.states().borrow().clone()
    }

    /// The same, to wait for changes.
    pub fn states(&self) -> watch::Receiver<AppState> {
        self.board.states()
    }

    /// Every container, in the order of the file; empty if the app could not be tried.
    pub fn status(&self) -> Vec<ContainerStatus> {
        self.board.containers()
    }

    /// Every service that is a program for the sandbox of Pads, in the order of the file.
    pub fn programs(&self) -> Vec<ProgramStatus> {
        self.board.programs()
    }

    /// The component of the program `service`; nothing if no such program is here.
    pub fn program(&self, service: &str) -> Option<Component> {
        let program = self.programs().into_iter().find(|program| program.service == service)?;
        match program.state {
            ProgramState::Here(component) => Some(component),
            _ => None,
        }
    }

    /// A container by its id, to ask what it uses; nothing if none of that id was started.
    pub fn container(&self, id: &str) -> Option<Arc<Container>> {
        self.board.handle(id)
    }

    /// What happened after the event numbered `seen`, the oldest first; all that is still known for
    /// 0.
    pub fn events_after(&self, seen: u64) -> Vec<AppEvent> {
        self.board.events_after(seen)
    }

    /// Ends all services in reverse order of their dependencies, each with its own grace, and
    /// returns when nothing runs.
    pub async fn stop(&self) {
        if !self.stop.is_closed() {
            self.stop.send_replace(true);
            // An error means that nobody drives it any more.
            let _ = self.states().wait_for(|state| *state == AppState::Stopped).await;
        }
    }
}
