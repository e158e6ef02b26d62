//! The resident service of a dstyx guest: completes the boot's events, runs the app, and answers for the guest on port 8090.
//!
//! Init has measured the app before this program starts, and starts it again when it ends; every step here
//! can therefore be gone through twice without being recorded twice. It holds no key yet and logs no
//! secret. Who speaks to it over the network is the attacker: requests are bounded in size, number and time,
//! and quotes are made one at a time.

#![forbid(unsafe_code)]

mod app;
mod boot;
mod evidence;
mod http;
mod info;
mod reports;

use std::process::ExitCode;
use std::sync::Arc;

use nix::sys::signal::SigSet;
use protocol::handover::AGENT_PORT;
use protocol::status::{Phase, Refusal};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::boot::Boot;
use crate::http::Service;
use crate::reports::Reports;

/// One thread is enough for a few requests; quotes and files are blocking and get threads of their own.
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
    /// handover, device or event log
    #[error(transparent)]
    Boot(#[from] boot::BootError),
}

async fn run() -> Result<(), AgentError> {
    let setup = |what| move |source| AgentError::Setup { what, source };
    let reports = Reports::take_over_stdout().map_err(setup("the status pipe"))?;
    reports.send(Phase::AgentStarted, Refusal::None);
    let stop = stop_signal().map_err(setup("signals"))?;
    let boot = Boot::complete()?;
    let address = (std::net::Ipv6Addr::UNSPECIFIED, AGENT_PORT);
    let listener = TcpListener::bind(address).await.map_err(setup("the public port"))?;
    let service = Arc::new(Service::new(&boot, reports.clone()));
    reports.send(Phase::SystemReady, Refusal::None);
    let server = tokio::spawn(http::serve(listener, service));
    let app = app::start(&boot);
    app::watch(&app, &reports, stop).await;
    server.abort();
    Ok(())
}

/// Unblocks what init keeps blocked, and waits for the request to stop.
fn stop_signal() -> std::io::Result<Signal> {
    let stop = signal(SignalKind::terminate())?;
    SigSet::all().thread_unblock()?;
    Ok(stop)
}
