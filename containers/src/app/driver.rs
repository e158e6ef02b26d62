//! What carries an app out: fetches, starts and watches, and writes down what happens.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use protocol::handover::{DSTACK_SOCKET, TAPPD_SOCKET};
use rustix::mount::{UnmountFlags, unmount};
use tokio::sync::watch;

use super::AppSpec;
use super::board::Board;
use super::history::Happening;
use super::status::{AppState, ContainerState, ContainerStatus, Failure, FailureKind, PullStatus};
use crate::compose::Service;
use crate::container::{
    Container, ContainerError, ContainerRequest, Launcher, Sockets, State, StopSignalError, stop_signal,
};
use crate::helper::cgroup;
use crate::images::{self, Progress, PullError, PulledImage, Registries, RegistryError, RegistrySettings, Store};
use crate::network::{Attached, Network, NetworkError, Proxy};

/// SIGKILL
const KILL: i32 = 9;
/// How long services may take to end, as `docker stop` gives.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// The app's life, until `stop` is true and everything has ended.
pub(super) async fn drive(spec: AppSpec, board: Arc<Board>, mut stop: watch::Receiver<bool>) {
    board.set_containers(spec.compose.services.iter().map(waiting).collect());
    let started = tokio::select! {
        started = start(&spec, &board) => started,
        _ = stop.wait_for(|stop| *stop) => return board.set_state(AppState::Stopped),
    };
    match started {
        Ok(running) => {
            board.set_state(AppState::Running);
            board.happened(None, Happening::AppRunning);
            watch_services(&running, &board, &mut stop).await;
            board.set_state(AppState::Stopping);
            running.stop(STOP_GRACE).await;
            running.show(&board);
        }
        Err(error) => {
            let failure = Failure { kind: error.kind(), message: error.to_string() };
            board.happened(None, Happening::Failed { message: failure.message.clone() });
            board.set_state(AppState::Failed(failure));
            let _ = stop.wait_for(|stop| *stop).await;
        }
    }
    board.happened(None, Happening::AppStopped);
    board.set_state(AppState::Stopped);
}

fn waiting(service: &Service) -> ContainerStatus {
    ContainerStatus {
        service: service.name.clone(),
        id: id(service),
        image: service.image.to_string(),
        state: ContainerState::Waiting,
        health: None,
        restarts: 0,
        started: None,
        addresses: Vec::new(),
        ports: service.ports.clone(),
        labels: Vec::new(),
    }
}

fn id(service: &Service) -> String {
    format!("{}-1", service.name)
}

/// Writes every end down, until the app shall end.
async fn watch_services(running: &Running, board: &Board, stop: &mut watch::Receiver<bool>) {
    running.show(board);
    let each = running.services.iter().map(async |service| {
        let state = shown(service.container.ended().await);
        board.happened(Some(&id(&service.service)), Happening::Ended(state.clone()));
        running.show(board);
        if state != (ContainerState::Exited { code: 0, oom: false }) {
            let message = format!("service {:?}: {state}", service.service.name);
            board.set_state(AppState::Failed(Failure { kind: FailureKind::Container, message }));
        }
    });
    let all = async {
        join_all(each).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = all => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// Fetches, verifies and unpacks every image, then starts the services in the order of the file.
async fn start(spec: &AppSpec, board: &Board) -> Result<Running, AppError> {
    let settings = RegistrySettings {
        mirrors: spec.mirrors.clone(),
        roots_pem: spec.roots_pem.clone(),
        ..RegistrySettings::default()
    };
    let registries = Arc::new(Registries::new(settings)?);
    let progress = Progress::default();
    let store = Arc::new(Store::open(&spec.store_dir).map_err(AppError::Store)?);
    let mut images = Vec::new();
    for service in &spec.compose.services {
        let (registries, store) = (Arc::clone(&registries), Arc::clone(&store));
        let pulled = images::pull(&service.image, registries, store, spec.limits, &progress).await;
        images.push(pulled.map_err(|cause| AppError::Pull { service: service.name.clone(), cause })?);
        board.happened(Some(&service.name), Happening::Pulled { image: service.image.to_string() });
        let status = PullStatus { images: spec.compose.services.len(), done: images.len(), fetched_bytes: 0 };
        board.set_state(AppState::Pulling(status));
    }
    board.set_state(AppState::Starting);
    start_services(spec, &images, board).await
}

/// If one fails, those before it are ended.
async fn start_services(spec: &AppSpec, images: &[PulledImage], board: &Board) -> Result<Running, AppError> {
    prepare(spec).map_err(AppError::RunDir)?;
    let network = Network::create().await?;
    let names = spec.compose.services.iter().map(|service| service.name.clone());
    let hosts: Vec<(IpAddr, String)> = (0..).map(|place| IpAddr::V4(Network::address(place))).zip(names).collect();
    let mut running = Running { services: Vec::new(), network };
    for ((place, service), image) in (0..).zip(&spec.compose.services).zip(images) {
        let attached = running.network.attach(place, spec.run_dir.join(format!("net-{place}"))).await?;
        let failed = |cause| AppError::Service { service: service.name.clone(), cause };
        let started = start_service(spec, service, image, attached, &hosts).await.map_err(failed)?;
        running.services.push(started);
        board.happened(Some(&id(service)), Happening::Started);
    }
    Ok(running)
}

async fn start_service(
    spec: &AppSpec,
    service: &Service,
    image: &PulledImage,
    attached: Attached,
    hosts: &[(IpAddr, String)],
) -> Result<RunningService, ServiceError> {
    let stop_signal = stop_signal(image.config.stop_signal.as_deref())?;
    let mut proxies = Vec::new();
    for port in &service.ports {
        let listen = SocketAddr::new(port.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), port.published);
        let target = SocketAddr::new(IpAddr::V4(attached.address()), port.target);
        proxies.push(Proxy::publish(listen, target).await?);
    }
    let request = ContainerRequest {
        id: &id(service),
        service,
        image,
        network_namespace: Some(attached.namespace()),
        hosts,
        resolver: None,
        gateway: None,
    };
    let container = launcher(spec).start(&request).await?;
    Ok(RunningService {
        service: service.clone(),
        started: SystemTime::now(),
        _proxies: proxies,
        container,
        stop_signal,
        attached,
    })
}

fn launcher(spec: &AppSpec) -> Launcher {
    Launcher {
        helper: spec.helper.clone(),
        run_dir: spec.run_dir.clone(),
        data_dir: spec.run_dir.join("data"),
        log_dir: spec.log_dir.clone(),
        sockets: Sockets { dstack: DSTACK_SOCKET.into(), tappd: TAPPD_SOCKET.into() },
    }
}

fn shown(state: State) -> ContainerState {
    match state {
        State::Running { pid } => ContainerState::Running { pid },
        State::Exited { code, oom } => ContainerState::Exited { code, oom },
        State::Killed { signal, oom } => ContainerState::Killed { signal, oom },
        State::Failed { message } => ContainerState::Failed { message },
    }
}

/// Makes the folders; what an agent that died left in the run folder is unmounted and removed.
fn prepare(spec: &AppSpec) -> io::Result<()> {
    for folder in [spec.run_dir.join("containers"), spec.run_dir.clone()] {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let entry = entry?;
            if let Some(id) = entry.file_name().to_str() {
                cgroup::kill(id)?;
            }
            for mounted in [entry.path().join("rootfs"), entry.path()] {
                // Most are no mounts.
                let _ = unmount(&mounted, UnmountFlags::DETACH);
            }
        }
    }
    match fs::remove_dir_all(&spec.run_dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let make = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    make(&spec.log_dir)?;
    make(&spec.run_dir)
}

/// Services that run, or ran. Dropping it ends them all.
struct Running {
    services: Vec<RunningService>,
    network: Network,
}

/// Fields end in this order: the container before what it stands on.
struct RunningService {
    service: Service,
    started: SystemTime,
    _proxies: Vec<Proxy>,
    container: Container,
    stop_signal: i32,
    attached: Attached,
}

impl Drop for RunningService {
    fn drop(&mut self) {
        if let Err(error) = cgroup::kill(self.container.id()) {
            tracing::warn!(service = self.service.name, %error, "killing a container failed");
        }
    }
}

impl Running {
    fn show(&self, board: &Board) {
        let status = |running: &RunningService| ContainerStatus {
            state: shown(running.container.state().borrow().clone()),
            started: Some(running.started),
            addresses: vec![IpAddr::V4(running.attached.address())],
            ..waiting(&running.service)
        };
        board.set_containers(self.services.iter().map(status).collect());
    }

    /// Asks every service to end, kills those that have not after `grace`, and returns when all have.
    async fn stop(&self, grace: Duration) {
        for service in &self.services {
            service.container.signal(service.stop_signal).await;
        }
        let all = || join_all(self.services.iter().map(|service| service.container.ended()));
        if tokio::time::timeout(grace, all()).await.is_ok() {
            return;
        }
        for service in &self.services {
            service.container.signal(KILL).await;
        }
        all().await;
    }
}

/// Why one service does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The image wants to be stopped by a signal that does not exist.
    #[error("the image's {0}")]
    StopSignal(#[from] StopSignalError),
    /// A port cannot be published.
    #[error("{0}")]
    Network(#[from] NetworkError),
    /// The container did not start.
    #[error("{0}")]
    Container(#[from] ContainerError),
}

/// Why an app does not run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Mirrors or certificate roots are wrong.
    #[error("registries: {0}")]
    Registries(#[from] RegistryError),
    /// The store cannot be opened.
    #[error("store: {0}")]
    Store(io::Error),
    /// An image cannot be had.
    #[error("service {service:?}: image: {cause}")]
    Pull {
        /// Whose image.
        service: String,
        /// Why.
        cause: PullError,
    },
    /// The folders cannot be made.
    #[error("run folder: {0}")]
    RunDir(io::Error),
    /// The app's network cannot be made.
    #[error("network: {0}")]
    Network(#[from] NetworkError),
    /// A service cannot be started.
    #[error("service {service:?}: {cause}")]
    Service {
        /// Which one.
        service: String,
        /// Why.
        cause: ServiceError,
    },
}

impl AppError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Pull { cause, .. } => match cause {
                PullError::Store(_) | PullError::Task(_) | PullError::Cancelled => FailureKind::Internal,
                PullError::Fetch(_) | PullError::Document { .. } | PullError::Layer { .. } => FailureKind::Image,
            },
            Self::Service { .. } | Self::Network(_) => FailureKind::Container,
            Self::Registries(_) | Self::Store(_) | Self::RunDir(_) => FailureKind::Internal,
        }
    }
}
