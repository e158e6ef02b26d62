//! Pads in this guest: services that the measured file names have programs run on them.
//!
//! The agent is the supervisor of `pad-runner`, which runs engines and programs and has neither
//! keys nor a network, and speaks with the key delegators for it. It decides nothing about a run.
//! The services are believed nothing; what they hand over is sealed, public, or their own plain
//! input.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use containers::app::App;
use hkdf::Hkdf;
use protocol::pad_calls;
use sha2::Sha256;
use tokio::net::UnixListener;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::boot::Boot;
use crate::kms_client::KmsClient;
use crate::quotes::QuoteDesk;
use crate::reports::Reports;

mod delegators;
mod files;
mod jobs;
mod program;
mod refused;
mod runner;
mod socket;

use delegators::Delegators;
use files::{Files, FilesError};
use runner::{Bench, Runner};
use socket::Socket;

/// Connections to the socket of one service.
const MAX_CONNECTIONS: usize = 16;
/// Where files and compiled code are, below the directory of data.
const DIRECTORY: &str = "pads";
/// What the key of compiled code is derived for.
const CODE_LABEL: &[u8] = b"dstyx-pads-compiled-code-1";

/// Why no programs are run on Pads.
#[derive(Debug, thiserror::Error)]
pub enum PadsError {
    /// other sockets than services
    #[error("{sockets} sockets for Pads were handed over for {services} services")]
    Sockets {
        /// Of init.
        sockets: usize,
        /// Of the measured file.
        services: usize,
    },
    /// the data disk, or the process's own set-up
    #[error("{what}: {source}")]
    Setup {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// files of a service
    #[error(transparent)]
    Files(#[from] FilesError),
}

/// What the sockets of all services share.
struct Shared {
    runner: Runner,
    /// Whose services may be programs.
    app: App,
    exporter: [u8; 32],
    kms: Option<Arc<KmsClient>>,
    /// Whether what is written outlives the guest.
    keeps_disk: bool,
}

impl Shared {
    /// The time, in seconds since 1970: as the guest's KMS has it, if there is one.
    fn now_secs(&self) -> u64 {
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.kms.as_ref().map_or_else(clock, |kms| kms.now_secs())
    }
}

/// Answers on the sockets of the services that the measured file names, below a directory of the
/// data disk.
///
/// # Errors
/// If the data disk cannot be used, or init handed over other sockets.
pub fn serve(
    (boot, app): (&Boot, &App),
    desk: Arc<QuoteDesk>,
    reports: &Reports,
    data: &Path,
    listeners: Vec<UnixListener>,
    servers: &mut JoinSet<()>,
) -> Result<(), PadsError> {
    let services = &boot.app.pad_services;
    if listeners.len() != services.len() {
        let (sockets, services) = (listeners.len(), services.len());
        return Err(PadsError::Sockets { sockets, services });
    }
    if services.is_empty() {
        return Ok(());
    }
    let setup = |what| move |source| PadsError::Setup { what, source };
    let directory = data.join(DIRECTORY);
    let code = directory.join("code");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&code)
        .map_err(setup("the directory of compiled code"))?;
    let key = code_key(boot).map_err(setup("a key for compiled code"))?;
    let delegators = Delegators::new(boot, desk, reports.clone(), Handle::current());
    let bench = Bench::new(delegators, (PathBuf::from(&code), key));
    let shared = Arc::new(Shared {
        runner: Runner::start(bench).map_err(setup("the thread of pad-runner"))?,
        app: app.clone(),
        exporter: pad_calls::exporter(
            &boot.app.hash,
            &boot.handover.app_id,
            boot.handover.instance_id.as_ref(),
        ),
        kms: boot.kms.clone(),
        keeps_disk: boot.keys.is_some(),
    });
    for (service, listener) in services.iter().zip(listeners) {
        let files = Files::open(&directory, service, services.len())?;
        let socket = Arc::new(Socket::new(Arc::clone(&shared), files));
        servers.spawn(service::serve(listener, socket, MAX_CONNECTIONS));
    }
    Ok(())
}

/// The key under which compiled code is authentic: of the instance, so that its next boot compiles
/// nothing again, or of this agent alone where there are no keys.
fn code_key(boot: &Boot) -> io::Result<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    match &boot.keys {
        Some(keys) => Hkdf::<Sha256>::new(None, &*keys.disk)
            .expand(CODE_LABEL, &mut *key)
            .map_err(|error| io::Error::other(error.to_string()))?,
        None => getrandom::fill(&mut *key).map_err(io::Error::other)?,
    }
    Ok(key)
}
