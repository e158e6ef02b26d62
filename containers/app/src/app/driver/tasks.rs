//! One container in the driver's hands: what is done to it takes time, so a task does it and
//! reports.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use compose::{ComposeFile, PublishedPort, Service};
use container_helper::End;
use tokio::sync::{mpsc, watch};

use super::TaskReport;
use super::pulling::Outcome;
use crate::app::machine::Check;
use crate::container::{
    Container, ContainerError, ContainerRequest, ExecEnd, Launcher, State, StopSignalError,
    stop_signal,
};
use crate::network::{Joined, NetworkError, Networks};

/// The signal SIGKILL.
const KILL: i32 = 9;

/// What containers are made with; shared by all tasks.
pub(super) struct Workshop {
    pub(super) compose: ComposeFile,
    pub(super) launcher: Launcher,
    pub(super) networks: Networks,
}

/// A container, or the place for one.
pub(super) struct InstanceTasks {
    /// `SERVICE-N`
    pub(super) id: String,
    service: usize,
    workshop: Arc<Workshop>,
    image: watch::Receiver<Option<Outcome>>,
    reports: mpsc::UnboundedSender<TaskReport>,
    /// The one that runs, or ran last.
    container: Option<Arc<Container>>,
    addresses: Vec<IpAddr>,
}

/// A container that has been started.
pub(super) struct Started {
    container: Container,
    addresses: Vec<IpAddr>,
}

impl Started {
    /// Whether it never ran, or its helper was lost.
    pub(super) fn has_failed(&self) -> bool {
        matches!(*self.container.state().borrow(), State::Ended(End::Failed { .. }))
    }

    /// Kills it and removes all that it had.
    pub(super) async fn remove(self) -> io::Result<()> {
        self.container.remove().await
    }
}

impl InstanceTasks {
    pub(super) fn new(
        workshop: &Arc<Workshop>,
        service: usize,
        replica: u16,
        image: watch::Receiver<Option<Outcome>>,
        reports: &mpsc::UnboundedSender<TaskReport>,
    ) -> Self {
        let id = format!("{}-{replica}", workshop.compose.services[service].name);
        let (workshop, reports) = (Arc::clone(workshop), reports.clone());
        Self { id, service, workshop, image, reports, container: None, addresses: Vec::new() }
    }

    /// Its service.
    pub(super) fn service(&self) -> &Service {
        &self.workshop.compose.services[self.service]
    }

    /// Where it is reachable inside the guest.
    pub(super) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Where it is reachable from outside, once it has been started.
    pub(super) fn ports(&self) -> &[PublishedPort] {
        &self.service().ports
    }

    /// The container, if one was started or found.
    pub(super) fn container(&self) -> Option<Arc<Container>> {
        self.container.clone()
    }

    /// Starts it; reported as [`TaskReport::Started`].
    pub(super) fn start(&mut self, instance: usize) {
        let (workshop, service, id) = (Arc::clone(&self.workshop), self.service, self.id.clone());
        let (image, reports) = (self.image.clone(), self.reports.clone());
        self.container = None;
        tokio::spawn(async move {
            let started = start(&workshop, &workshop.compose.services[service], &id, image).await;
            let started = started.map_err(|error| error.to_string());
            // Without a driver the container goes on, for the next one to find.
            let _ = reports.send(TaskReport::Started { instance, started });
        });
    }

    /// Keeps a container that was started; its end is reported as [`TaskReport::Ended`].
    pub(super) fn keep(&mut self, instance: usize, started: Started) -> Option<i32> {
        let pid = match *started.container.state().borrow() {
            State::Running { pid } => Some(pid),
            _ => None,
        };
        self.addresses = started.addresses;
        let container = Arc::new(started.container);
        let (ended, reports) = (container.ended(), self.reports.clone());
        self.container = Some(container);
        tokio::spawn(async move {
            let end = ended.await;
            let _ = reports.send(TaskReport::Ended { instance, end });
        });
        pid
    }

    /// Finds the container that an earlier agent started; nothing if there is none.
    pub(super) async fn find(&self) -> Result<Option<Started>, TakeOverError> {
        let Some(container) = self.workshop.launcher.attach(&self.id).await? else {
            return Ok(None);
        };
        let Joined { addresses, .. } = self.workshop.networks.join(&self.id).await?;
        self.workshop.networks.publish(&self.id).await?;
        Ok(Some(Started { container, addresses }))
    }

    /// Asks it to end, as its service or image wants to be asked.
    pub(super) fn ask(&self) {
        let Some(container) = self.container() else { return };
        let image = self.image.clone();
        let own = self.service().stop.signal.clone();
        tokio::spawn(async move {
            let name = match own {
                Some(own) => Some(own),
                None => known(image)
                    .await
                    .and_then(Result::ok)
                    .and_then(|image| image.config.stop_signal.clone()),
            };
            // An unknown name was refused at the start.
            container.signal(stop_signal(name.as_deref()).unwrap_or(KILL)).await;
        });
    }

    /// Kills it.
    pub(super) fn kill(&self) {
        if let Some(container) = self.container() {
            tokio::spawn(async move { container.signal(KILL).await });
        }
    }

    /// Runs a health check; reported as [`TaskReport::Checked`]. What it prints is the container's
    /// affair and goes nowhere.
    pub(super) fn check(&self, instance: usize, run: u32, check: Check) {
        let Some(container) = self.container() else { return };
        let reports = self.reports.clone();
        tokio::spawn(async move {
            let result = match container.exec(&check.test, check.timeout).await {
                Ok(outcome) => judged(outcome.end),
                Err(error) => Err(error.to_string()),
            };
            let _ = reports.send(TaskReport::Checked { instance, run, result });
        });
    }

    /// Removes what is left of it: its root, its anonymous volumes, its place on the networks.
    pub(super) async fn clear(mut self) -> Result<(), TakeOverError> {
        let container = match self.container.take().and_then(Arc::into_inner) {
            Some(container) => Some(container),
            None => self.workshop.launcher.attach(&self.id).await?,
        };
        let removed = match container {
            Some(container) => container.remove().await,
            // One that could not be started has left something too.
            None => self.workshop.launcher.forget(&self.id).await,
        };
        removed.map_err(ContainerError::Directory)?;
        Ok(self.workshop.networks.leave(&self.id).await?)
    }
}

fn judged(end: ExecEnd) -> Result<(), String> {
    match end {
        ExecEnd::Exited { code: 0 } => Ok(()),
        ExecEnd::Exited { code } => Err(format!("exit code {code}")),
        ExecEnd::TimedOut => Err("it took too long".to_owned()),
        ExecEnd::Failed { message } => Err(message),
    }
}

/// Whether an image can be had, once that is known; nothing if nobody fetches it any more.
async fn known(mut image: watch::Receiver<Option<Outcome>>) -> Option<Outcome> {
    image.wait_for(Option::is_some).await.ok().and_then(|image| image.clone())
}

async fn start(
    workshop: &Workshop,
    service: &Service,
    id: &str,
    image: watch::Receiver<Option<Outcome>>,
) -> Result<Started, StartError> {
    let image = known(image)
        .await
        .ok_or(StartError::NoImage)?
        .map_err(|fault| StartError::Image(fault.message))?;
    stop_signal(service.stop.signal.as_deref().or(image.config.stop_signal.as_deref()))?;
    let network = workshop.networks.join(id).await?;
    let containers = workshop.compose.services.iter().map(|service| usize::from(service.replicas));
    let has_neighbours = containers.sum::<usize>() > 1;
    let request =
        ContainerRequest { id, service, image: &image, network: &network, has_neighbours };
    let container = workshop.launcher.start(&request).await?;
    if let Err(error) = workshop.networks.publish(id).await {
        // The error that is told is the first one.
        let _ = container.remove().await;
        return Err(error.into());
    }
    Ok(Started { container, addresses: network.addresses })
}

/// Why a container does not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    /// the app ended meanwhile
    #[error("nobody fetches its image any more")]
    NoImage,
    /// its image cannot be had
    #[error("image: {0}")]
    Image(String),
    /// it wants to be stopped by a signal that does not exist
    #[error(transparent)]
    StopSignal(#[from] StopSignalError),
    /// its network cannot be had, or a port cannot be published
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// the container did not start
    #[error(transparent)]
    Container(#[from] ContainerError),
}

/// Why what an earlier agent left cannot be taken over or removed.
#[derive(Debug, thiserror::Error)]
pub(super) enum TakeOverError {
    /// the container
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// its network
    #[error(transparent)]
    Network(#[from] NetworkError),
}
