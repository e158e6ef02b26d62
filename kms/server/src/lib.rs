//! `kms`: gives keys to guests that it verified, and to nobody else.
//!
//! One process of a container in a guest is one member of a cluster. It has no secret of its own at
//! the start: the root is made in its memory or joined there from its owners' shares, and what lies
//! on its disk is sealed or public. All that it is told stands in its measured compose file. The
//! network, the host, its disk and the guests that call are the attacker; the guest's own agent is
//! believed, as it is measured too.
//!
//! The program calls [`run`]; what else is public, only tests and benches have.

#![forbid(unsafe_code)]

mod attester;
mod boot_auth;
mod clock;
mod config;
#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;
mod http;
mod judge;
mod member;
mod peers;
mod server;
mod store;
mod time_servers;

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use agent_client::{Collaterals, Socket, SocketError};
use attestation::TrustAnchor;
use channel::TlsKey;
use channel::tls::TlsError;
use pccs::{INTEL_PCS, Service, ServiceError};
use protocol::kms::{CHANNEL_PORT, PUBLIC_PORT};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::attester::GuestAttester;
use crate::config::{Config, ConfigError};
use crate::judge::GuestJudge;
use crate::member::{Member, OpenError};
use crate::time_servers::{Roots, TimeServers};

/// Why the KMS cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// variables
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// what is stored
    #[error(transparent)]
    Open(#[from] OpenError),
    /// the collateral service
    #[error("the collateral service")]
    Collateral(#[from] ServiceError),
    /// the guest's agent
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// a key for handshakes
    #[error("a key for handshakes")]
    Tls(#[from] TlsError),
    /// the public port's certificate
    #[error(transparent)]
    Certificate(#[from] server::CertificateError),
    /// a port
    #[error("port {port} cannot be served")]
    Port {
        /// The port.
        port: u16,
        /// Why not.
        source: io::Error,
    },
    /// signals
    #[error("signals cannot be received")]
    Signals(#[source] io::Error),
}

impl StartError {
    /// What to try.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Config(error) => error.hint(),
            Self::Open(error) => error.hint(),
            Self::Collateral(_) => "the address has a scheme and a host: https://pccs.example:8081",
            Self::Socket(_) => "does the compose file mount /var/run/dstack.sock?",
            Self::Tls(_) | Self::Certificate(_) => "is this a guest with a source of randomness?",
            Self::Port { .. } => "is another program listening there?",
            Self::Signals(_) => "is this a Linux guest?",
        }
    }
}

/// Serves one process of a KMS, as its environment says, until it is told to end.
///
/// # Errors
/// If its environment is not one of a KMS, or it cannot serve.
pub async fn run() -> Result<(), StartError> {
    // The first process of a container is deaf to signals that it does not ask for.
    let mut ends = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
    let config = Config::of(
        std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.into_string().ok())),
    )?;
    if matches!(config.anchor, TrustAnchor::DangerEmulated(_)) {
        tracing::warn!("an emulator's root is trusted: this KMS proves nothing");
    }
    let ports = (listen(CHANNEL_PORT).await?, listen(PUBLIC_PORT).await?);
    tokio::select! {
        served = serve(config, Socket::of_guest(), ports) => served,
        _ = ends.recv() => Ok(()),
    }
}

/// Serves one process of a KMS until its task is ended.
async fn serve(
    config: Config,
    socket: Socket,
    (channels, public): (TcpListener, TcpListener),
) -> Result<(), StartError> {
    let collaterals = Arc::new(collaterals(config.pccs.as_deref())?);
    let member = Arc::new(Member::open(&config)?);
    tracing::info!("{}: {}", config.cluster.id(), member.summary());
    let Config { cluster, anchor, peers, time_servers, .. } = config;
    if time_servers.is_empty() {
        tracing::warn!("no time servers are named: the time is this machine's clock's");
    }
    let time_servers = TimeServers::new(time_servers, Roots::CompiledIn);
    let (kept, seen) = (Arc::clone(&member), Arc::clone(&member));
    let (own, asked) = (cluster.clone(), Arc::clone(&collaterals));
    let attester = GuestAttester::new(own, socket, asked, Arc::clone(&member)).await?;
    let judge = GuestJudge::new(anchor, &cluster, collaterals, Arc::clone(&member));
    let (attester, judge, tls) = (Arc::new(attester), Arc::new(judge), TlsKey::generate()?);
    let party = server::party(tls.clone(), Arc::clone(&attester), Arc::clone(&judge));
    let key = server::self_signed()?;
    tokio::select! {
        () = server::serve_channels(channels, party, Arc::clone(&member)) => {}
        () = server::serve_public(public, key, Arc::clone(&member)) => {}
        () = time_servers.keep(kept.clock(), || seen.passed()) => {}
        () = peers::talk(peers, tls, (attester, judge), member) => {}
    }
    Ok(())
}

/// Collateral of the service at an address; `None`: Intel's.
fn collaterals(address: Option<&str>) -> Result<Collaterals, ServiceError> {
    let service = Service::new(address.unwrap_or(INTEL_PCS), &pccs::Roots::CompiledIn)?;
    Ok(Collaterals::new(move |key| service.fetch(key)))
}

async fn listen(port: u16) -> Result<TcpListener, StartError> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await;
    listener.map_err(|source| StartError::Port { port, source })
}
