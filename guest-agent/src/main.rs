//! The resident service of a dstyx guest: completes the boot's events, runs the app, and answers
//! for the guest on port 8090.
//!
//! Init has measured the app before this program starts, and starts it again when it ends; every
//! phase here can therefore be entered twice without being recorded twice. It holds the keys that a
//! KMS released, and logs no secret. Who speaks to it over the network is the attacker, and so is a
//! container on one of its sockets: requests are bounded in size, number and time, and quotes
//! are made one at a time.

#![deny(unsafe_code)]

mod anchors;
mod api;
mod app;
mod boot;
mod disk;
mod gateway;
mod http;
mod info;
mod inherited;
mod keys;
mod kms_client;
mod memory;
mod owners;
mod pads;
mod quotes;
mod reports;
#[allow(unsafe_code)]
mod sys;
mod upgrade;

use std::alloc::System;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use containers::app::App;
use nix::sys::signal::SigSet;
use protocol::handover::AGENT_PORT;
use protocol::prpc::guest::Service;
use protocol::status::{Phase, Refusal};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use zeroizing_alloc::ZeroAlloc;

use crate::api::Api;
use crate::api::socket::{self, Socket};
use crate::boot::{
    Boot, DiskOpened, EnvironmentOpened, HandoverRead, KeysReleased, PhaseError, SystemReady,
};
use crate::http::Port;
use crate::inherited::Inherited;
use crate::memory::Memory;
use crate::owners::OwnerPort;
use crate::pads::PadsError;
use crate::quotes::QuoteDesk;
use crate::reports::Reports;
use crate::upgrade::{OnTrial, UpgradeError, Verdict};

/// Clears all memory that is freed: values of an encrypted environment come into texts of the
/// compose file, of containers' bundles and of answers, which parsers and encoders copy.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

/// One thread is enough for a few requests; quotes and files are blocking and get threads of their
/// own.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).without_time().init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Why the agent could not do its work and ends; init starts it again.
#[derive(Debug, thiserror::Error)]
enum AgentError {
    /// the process's own set-up
    #[error("{what}: {source}")]
    Setup {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// a phase of the boot
    #[error(transparent)]
    Phase(#[from] PhaseError),
    /// runs on Pads
    #[error(transparent)]
    Pads(#[from] PadsError),
}

async fn run() -> Result<(), AgentError> {
    let setup = |what| move |source| AgentError::Setup { what, source };
    let reports = Reports::take_over_stdout().map_err(setup("the status pipe"))?;
    reports.send(Phase::AgentStarted, Refusal::None);
    let mut stop = stop_signal().map_err(setup("signals"))?;
    let inherited = Inherited::from_stdin().map_err(setup("what init hands over"))?;
    let read = HandoverRead::enter()?;
    let desk = Arc::new(QuoteDesk::new(read.log(), reports.clone()));
    let opened = tokio::select! {
        // A KMS that is away is waited for without end.
        opened = open(read, &desk, &inherited.memory, &reports) => opened,
        _ = stop.recv() => return Ok(()),
    };
    let opened = match opened {
        Err(error) => {
            let Some(refusal) = error.cause.refusal() else { return Err(error.into()) };
            halted(&error, refusal, &reports, stop).await;
            return Ok(());
        }
        Ok(opened) => opened,
    };
    let address = (std::net::Ipv6Addr::UNSPECIFIED, AGENT_PORT);
    let public = TcpListener::bind(address).await.map_err(setup("the public port"))?;
    let ready = SystemReady::enter(opened)?;
    let owners = OwnerPort::open(&ready.boot().app).await.map_err(setup("the owners' port"))?;
    reports.send(Phase::SystemReady, Refusal::None);
    let boot = ready.boot();
    let on_trial = match on_trial(boot) {
        Ok(on_trial) => on_trial,
        Err(error) => {
            tracing::error!("{error}");
            reports.send(Phase::DiskOpened, Refusal::DiskFailed);
            stop.recv().await;
            return Ok(());
        }
    };
    let app = app::start(boot);
    let Inherited { dstack, tappd, pads, .. } = inherited;
    let sockets = [(dstack, Service::DstackGuest), (tappd, Service::Tappd)];
    let mut tasks = serve(boot, &desk, &app, Ports { public, owners }, sockets);
    gateway::serve(boot, &desk, &app, &mut tasks);
    pads::serve((boot, &app), desk, &reports, Path::new(app::DATA), pads, &mut tasks)?;
    let failed = tokio::select! {
        () = app::watch(&app, &reports, &mut stop) => None,
        failed = not_upgraded(on_trial, &app) => Some(failed),
        failed = unanchored(boot, &app, &reports) => Some(failed),
    };
    tasks.abort_all();
    last_anchor(boot, failed).await;
    if let Some((phase, refusal)) = failed {
        reports.send(phase, refusal);
        stop.recv().await;
    }
    Ok(())
}

/// Anchors what the disk has at the end, for as long as the reason of the end allows.
async fn last_anchor(boot: &Boot, failed: Option<(Phase, Refusal)>) {
    let Some(anchors) = &boot.anchors else { return };
    let within = match failed {
        None | Some((_, Refusal::StatementEnded)) => anchors::LAST_WITHIN,
        Some(_) => anchors::LAST_OF_ITSELF_WITHIN,
    };
    anchors.last(within).await;
}

/// The trial of this version, if it begins one. A disk of one boot has no earlier version's data,
/// and a plain one is the host's.
fn on_trial(boot: &Boot) -> Result<Option<OnTrial>, UpgradeError> {
    match boot.anchors {
        Some(_) => upgrade::begin(Path::new(app::DATA), boot.app.hash),
        None => Ok(None),
    }
}

/// Waits until a new version of the app has failed its trial; what its guest ends with.
async fn not_upgraded(on_trial: Option<OnTrial>, app: &App) -> (Phase, Refusal) {
    let verdict = match on_trial {
        Some(on_trial) => on_trial.watch(app).await,
        None => Ok(Verdict::Runs),
    };
    match verdict {
        Ok(Verdict::Fails) => (Phase::AppFailed, Refusal::UpgradeUndone),
        Ok(Verdict::Runs | Verdict::Open(_)) => std::future::pending().await,
        Err(error) => {
            tracing::error!("{error}");
            (Phase::DiskOpened, Refusal::DiskFailed)
        }
    }
}

/// Anchors the disk until the guest must end without; what it ends with. A statement holds for long
/// enough that the app stops in order.
async fn unanchored(boot: &Boot, app: &App, reports: &Reports) -> (Phase, Refusal) {
    let Some(anchors) = &boot.anchors else { return std::future::pending().await };
    let refusal = anchors.keep().await;
    match refusal {
        Refusal::StatementEnded => app.stop().await,
        _ => reports.send(Phase::SystemReady, refusal),
    }
    (Phase::SystemReady, refusal)
}

/// The phases in which the host, or a KMS, decides whether the guest goes on.
async fn open(
    read: HandoverRead,
    desk: &Arc<QuoteDesk>,
    memory: &Memory,
    reports: &Reports,
) -> Result<EnvironmentOpened, PhaseError> {
    let released = KeysReleased::enter(read, desk, memory, reports).await?;
    if released.has_keys() {
        reports.send(Phase::KeysReleased, Refusal::None);
    }
    let disk = DiskOpened::enter(released, memory, reports).await?;
    reports.send(Phase::DiskOpened, Refusal::None);
    let opened = EnvironmentOpened::enter(disk, memory).await?;
    if opened.is_asked_for() {
        reports.send(Phase::EnvironmentOpened, Refusal::None);
    }
    Ok(opened)
}

/// Says why there are no keys or no data disk, upon which init ends the machine: nothing of the app
/// may run without.
async fn halted(error: &PhaseError, refusal: Refusal, reports: &Reports, mut stop: Signal) {
    tracing::error!("{error}");
    reports.send(error.phase, refusal);
    stop.recv().await;
}

/// The ports of the guest that the agent answers on.
struct Ports {
    public: TcpListener,
    /// Of an app that names owners.
    owners: Option<OwnerPort>,
}

/// Answers on the ports and on the sockets of containers, until the tasks are ended.
fn serve(
    boot: &Boot,
    desk: &Arc<QuoteDesk>,
    app: &App,
    ports: Ports,
    sockets: [(UnixListener, Service); 2],
) -> JoinSet<()> {
    let api = Arc::new(Api::new(boot, Arc::clone(desk)));
    let port = |boot: &Boot| {
        let (desk, api) = (Arc::clone(desk), Arc::clone(&api));
        Arc::new(Port::new(boot, desk, api, app.clone(), app::LOGS.into()))
    };
    let mut servers = JoinSet::new();
    servers.spawn(service::serve(ports.public, port(boot), http::MAX_CONNECTIONS));
    if let Some(owners) = ports.owners {
        let seen = port(&owners::as_seen_by_owners(boot));
        servers.spawn(owners.serve(boot, Arc::clone(desk), seen));
    }
    for (listener, service) in sockets {
        let socket = Arc::new(Socket::new(Arc::clone(&api), service));
        servers.spawn(service::serve(listener, socket, socket::MAX_CONNECTIONS));
    }
    servers
}

/// Unblocks what init keeps blocked, and waits for the request to stop.
fn stop_signal() -> std::io::Result<Signal> {
    let stop = signal(SignalKind::terminate())?;
    SigSet::all().thread_unblock()?;
    Ok(stop)
}
