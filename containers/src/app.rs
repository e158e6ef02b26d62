//! A whole app: from a compose file to running services, and to their end.
//!
//! The one entry for the agent. Steps are types: [`App::pull`] gives a [`PulledApp`], all of whose bytes
//! are verified, and only that can be started. What runs ends when its [`RunningApp`] is dropped or this
//! process dies, so nothing runs that nobody answers for.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Resource, getrlimit};

use crate::bundle::{Bundle, BundleError, BundleRequest};
use crate::compose::{ComposeFile, Service};
use crate::helper::wire::{LogRequest, Request};
use crate::images::{self, Limits, Mirror, PullError, PulledImage, Registries, RegistryError, Store};
use crate::network::{Attached, Network, NetworkError, Proxy};

mod supervisor;

pub use supervisor::{State, SupervisorError};

use supervisor::Supervisor;

/// A container's newest log file; with the one before it, twice this.
const LOG_BYTES: u64 = 4 << 20;

/// What to run, and where its files go.
#[derive(Debug)]
pub struct AppSpec {
    /// The app.
    pub compose: ComposeFile,
    /// Asked before the registries; hints, since digests decide.
    pub mirrors: Vec<Mirror>,
    /// Certificate roots for registries; without them only mirrors are asked.
    pub roots_pem: Option<PathBuf>,
    /// Folder of unpacked layers; outlives the app.
    pub store_dir: PathBuf,
    /// Folder of bundles and state, emptied first; on tmpfs.
    pub run_dir: PathBuf,
    /// Folder of logs: `SERVICE.log` and `SERVICE.log.1`.
    pub log_dir: PathBuf,
    /// The helper program.
    pub helper: PathBuf,
    /// What each image may take.
    pub limits: Limits,
}

/// An app by its parts; nothing has been fetched.
#[derive(Debug)]
pub struct App;

impl App {
    /// Fetches, verifies and unpacks every image.
    pub async fn pull(spec: AppSpec) -> Result<PulledApp, AppError> {
        let registries = Arc::new(Registries::new(spec.mirrors.clone(), spec.roots_pem.as_deref())?);
        let store = Arc::new(Store::open(&spec.store_dir).map_err(AppError::Store)?);
        let mut images = Vec::new();
        for service in &spec.compose.services {
            let pulled = images::pull(&service.image, Arc::clone(&registries), Arc::clone(&store), spec.limits).await;
            images.push(pulled.map_err(|cause| AppError::Pull { service: service.name.clone(), cause })?);
        }
        Ok(PulledApp { spec, images })
    }

    /// [`App::pull`], then [`PulledApp::start`].
    pub async fn start(spec: AppSpec) -> Result<RunningApp, AppError> {
        Self::pull(spec).await?.start().await
    }
}

/// An app whose every byte is verified and unpacked.
#[derive(Debug)]
pub struct PulledApp {
    spec: AppSpec,
    /// In the order of the services.
    images: Vec<PulledImage>,
}

impl PulledApp {
    /// Starts the services in the order of the file. If one fails, those before it are ended.
    pub async fn start(self) -> Result<RunningApp, AppError> {
        let PulledApp { spec, images } = self;
        prepare(&spec).map_err(AppError::RunDir)?;
        let network = Network::create().await?;
        let names = spec.compose.services.iter().map(|service| service.name.clone());
        let hosts: Vec<(Ipv4Addr, String)> = (0..).map(Network::address).zip(names).collect();
        let mut running = RunningApp { services: Vec::new(), _network: network };
        for ((place, service), image) in (0..).zip(&spec.compose.services).zip(&images) {
            let attached = running._network.attach(place, spec.run_dir.join(format!("net-{place}"))).await?;
            let failed = |cause| AppError::Service { service: service.name.clone(), cause };
            let started = start_service(&spec, service, image, attached, &hosts).await.map_err(failed)?;
            running.services.push(started);
        }
        Ok(running)
    }
}

async fn start_service(
    spec: &AppSpec,
    service: &Service,
    image: &PulledImage,
    attached: Attached,
    hosts: &[(Ipv4Addr, String)],
) -> Result<RunningService, ServiceError> {
    let id = format!("service-{}", service.name);
    let directory = spec.run_dir.join(&id);
    let bundle = Bundle::create(&BundleRequest {
        directory: &directory,
        id: &id,
        service,
        image,
        network_namespace: attached.namespace(),
        hosts,
        max_open_files: getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX),
    })?;
    let log = LogRequest { path: spec.log_dir.join(format!("{}.log", service.name)), max_bytes: LOG_BYTES };
    let request = Request { bundle: bundle.directory().to_owned(), id, state_root: spec.run_dir.join("state"), log };
    let stop_signal = supervisor::stop_signal(image.config.stop_signal.as_deref())?;
    let mut proxies = Vec::new();
    for port in &service.ports {
        let listen = SocketAddr::new(port.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), port.published);
        let target = SocketAddr::new(IpAddr::V4(attached.address()), port.target);
        proxies.push(Proxy::publish(listen, target).await?);
    }
    let supervisor = Supervisor::start(&spec.helper, &request, stop_signal).await?;
    Ok(RunningService { name: service.name.clone(), supervisor, proxies, attached, _bundle: bundle })
}

/// Makes the folders; what an agent that died left in the run folder is unmounted and removed.
fn prepare(spec: &AppSpec) -> io::Result<()> {
    if let Ok(entries) = fs::read_dir(&spec.run_dir) {
        for entry in entries {
            let path = entry?.path();
            for mounted in [path.join("rootfs"), path] {
                // Most are no mounts.
                let _ = unmount(&mounted, UnmountFlags::DETACH);
            }
        }
        fs::remove_dir_all(&spec.run_dir)?;
    }
    let make = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    make(&spec.log_dir)?;
    make(&spec.run_dir.join("state"))
}

/// Services that run, or ran. Dropping it ends them all.
#[derive(Debug)]
pub struct RunningApp {
    services: Vec<RunningService>,
    _network: Network,
}

/// Fields end in this order: the container before what it stands on.
#[derive(Debug)]
struct RunningService {
    name: String,
    proxies: Vec<Proxy>,
    supervisor: Supervisor,
    attached: Attached,
    _bundle: Bundle,
}

/// One service as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// What became of it.
    pub state: State,
    /// Its address on the bridge.
    pub address: Ipv4Addr,
    /// Where the guest listens for it.
    pub listening: Vec<SocketAddr>,
}

impl RunningApp {
    /// Every service, in the order of the file.
    pub fn status(&self) -> Vec<ServiceStatus> {
        let status = |service: &RunningService| ServiceStatus {
            name: service.name.clone(),
            state: service.supervisor.state(),
            address: service.attached.address(),
            listening: service.proxies.iter().map(Proxy::listening).collect(),
        };
        self.services.iter().map(status).collect()
    }

    /// Returns when every service has ended.
    pub async fn ended(&self) {
        for service in &self.services {
            service.supervisor.ended().await;
        }
    }

    /// Asks every service to end, kills those that have not after `grace`, and returns when all have.
    pub async fn stop(&self, grace: Duration) {
        for service in &self.services {
            service.supervisor.stop().await;
        }
        if tokio::time::timeout(grace, self.ended()).await.is_ok() {
            return;
        }
        for service in &self.services {
            service.supervisor.kill().await;
        }
        self.ended().await;
    }
}

/// Why one service does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// No container can be made.
    #[error("{0}")]
    Bundle(#[from] BundleError),
    /// A port cannot be published.
    #[error("{0}")]
    Network(#[from] NetworkError),
    /// The container did not start.
    #[error("{0}")]
    Supervisor(#[from] SupervisorError),
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
