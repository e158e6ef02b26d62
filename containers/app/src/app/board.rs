//! What the driver of an app writes down and everybody else may read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::watch;

use super::history::{AppEvent, Happening, History};
use super::status::{AppState, ContainerStatus, ProgramStatus};
use crate::container::Container;

/// One writer, any number of readers.
#[derive(Debug)]
pub(super) struct Board {
    state: watch::Sender<AppState>,
    written: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    containers: Vec<ContainerStatus>,
    programs: Vec<ProgramStatus>,
    /// By id, those that were started.
    handles: HashMap<String, Arc<Container>>,
    history: History,
}

impl Board {
    pub(super) fn new(state: AppState) -> Self {
        Self { state: watch::Sender::new(state), written: Mutex::default() }
    }

    /// True if it was another state.
    pub(super) fn set_state(&self, state: AppState) -> bool {
        self.state.send_if_modified(|old| {
            let changed = *old != state;
            *old = state;
            changed
        })
    }

    pub(super) fn states(&self) -> watch::Receiver<AppState> {
        self.state.subscribe()
    }

    pub(super) fn set_containers(
        &self,
        containers: Vec<ContainerStatus>,
        handles: HashMap<String, Arc<Container>>,
    ) {
        let mut written = self.written();
        (written.containers, written.handles) = (containers, handles);
    }

    pub(super) fn set_programs(&self, programs: Vec<ProgramStatus>) {
        self.written().programs = programs;
    }

    pub(super) fn programs(&self) -> Vec<ProgramStatus> {
        self.written().programs.clone()
    }

    /// Lets go of the containers: they are being removed.
    pub(super) fn release(&self) {
        self.written().handles.clear();
    }

    pub(super) fn handle(&self, id: &str) -> Option<Arc<Container>> {
        self.written().handles.get(id).cloned()
    }

    pub(super) fn containers(&self) -> Vec<ContainerStatus> {
        self.written().containers.clone()
    }

    /// Writes an event down, and into the agent's own log.
    pub(super) fn happened(&self, subject: Option<&str>, what: Happening) {
        tracing::info!("{}: {what}", subject.unwrap_or("app"));
        self.written().history.add(SystemTime::now(), subject.map(str::to_owned), what);
    }

    pub(super) fn events_after(&self, seen: u64) -> Vec<AppEvent> {
        self.written().history.after(seen)
    }

    /// Nothing panics while it is held; what is there would be whole anyway.
    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
