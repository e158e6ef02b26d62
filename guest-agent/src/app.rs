//! The app's life: started once the system is ready, watched, and stopped when init asks.
//!
//! A compose file, an image or a container that is refused does not end the agent: the guest still serves
//! evidence and says on the status disk why its app does not run.

use std::path::Path;
use std::time::Duration;

use containers::app::{App, AppError, AppSpec, RunningApp, State};
use containers::compose::{Cause, ComposeError, ComposeFile, ReferenceError};
use containers::images::{Limits, Mirror, PullError};
use protocol::status::{Phase, Refusal};
use tokio::signal::unix::Signal;

use crate::boot::Boot;
use crate::reports::Reports;

/// Certificate roots for registries, part of the measured image.
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Unpacked layers.
const STORE: &str = "/var/lib/dstyx/images";
/// Bundles and state of what runs.
const RUN: &str = "/run/dstyx/app";
/// Logs of the services.
const LOGS: &str = "/var/log/dstyx";
/// The program that becomes a container.
const HELPER: &str = "/bin/container-helper";
/// How long services may take to end, as `docker stop` gives; below what init gives this program.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Why the app does not run.
#[derive(Debug, thiserror::Error)]
enum StartError {
    /// its compose file
    #[error("docker_compose_file: {0}")]
    Compose(#[from] ComposeError),
    /// its images, containers or network
    #[error(transparent)]
    App(#[from] AppError),
}

/// Starts the app and returns when `stop` was asked for and everything has ended.
pub async fn run(boot: &Boot, reports: &Reports, mut stop: Signal) {
    let started = tokio::select! {
        started = start(boot) => started,
        _ = stop.recv() => return,
    };
    match started {
        Ok(app) => {
            tracing::info!("the app {} runs", boot.app.name);
            reports.send(Phase::AppRunning, Refusal::None);
            watch(&app, reports, stop).await;
            app.stop(STOP_GRACE).await;
        }
        Err(error) => {
            tracing::error!("the app cannot be started: {error}");
            reports.send(Phase::AppFailed, refusal_of(&error));
            stop.recv().await;
        }
    }
}

/// Waits for the request to stop; services that all ended before it are told of.
async fn watch(app: &RunningApp, reports: &Reports, mut stop: Signal) {
    tokio::select! {
        () = app.ended() => {}
        _ = stop.recv() => return,
    }
    let services = app.status();
    for service in &services {
        tracing::info!("service {}: {:?}", service.name, service.state);
    }
    if services.iter().any(|service| service.state != State::Exited { code: 0 }) {
        reports.send(Phase::AppFailed, Refusal::ContainerFailed);
    }
    stop.recv().await;
}

async fn start(boot: &Boot) -> Result<RunningApp, StartError> {
    let spec = AppSpec {
        compose: ComposeFile::parse(boot.app.docker_compose_file.as_bytes())?,
        mirrors: boot.handover.registry_mirrors.iter().filter_map(|address| mirror(address)).collect(),
        roots_pem: Some(Path::new(ROOTS).to_owned()),
        store_dir: STORE.into(),
        run_dir: RUN.into(),
        log_dir: LOGS.into(),
        helper: HELPER.into(),
        limits: Limits::default(),
    };
    Ok(App::start(spec).await?)
}

/// A mirror is a hint: one that cannot be understood is left out.
fn mirror(address: &str) -> Option<Mirror> {
    Mirror::parse(address).inspect_err(|error| tracing::warn!("mirror: {error}")).ok()
}

fn refusal_of(error: &StartError) -> Refusal {
    match error {
        StartError::Compose(error) if names_no_digest(error) => Refusal::ImageUnpinned,
        StartError::Compose(_) => Refusal::ComposeInvalid,
        StartError::App(AppError::Pull { cause, .. }) => match cause {
            PullError::Store(_) | PullError::Task(_) => Refusal::Internal,
            PullError::Fetch(_) | PullError::Document { .. } | PullError::Layer { .. } => Refusal::ImageRefused,
        },
        StartError::App(AppError::Service { .. } | AppError::Network(_)) => Refusal::ContainerFailed,
        StartError::App(AppError::Registries(_) | AppError::Store(_) | AppError::RunDir(_)) => Refusal::Internal,
    }
}

fn names_no_digest(error: &ComposeError) -> bool {
    let ComposeError::Refused(refusals) = error else { return false };
    refusals.iter().any(|refusal| matches!(refusal.cause, Cause::Image(ReferenceError::NoDigest(_))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(compose: &str) -> Refusal {
        refusal_of(&ComposeFile::parse(compose.as_bytes()).unwrap_err().into())
    }

    #[test]
    fn an_unpinned_image_is_told_apart_from_other_mistakes() {
        assert_eq!(refusal("services: {web: {image: nginx}}"), Refusal::ImageUnpinned);
        assert_eq!(refusal("services: {web: {image: nginx, unknown: 1}}"), Refusal::ImageUnpinned);
        assert_eq!(refusal("services: 1"), Refusal::ComposeInvalid);
        assert_eq!(refusal("\t"), Refusal::ComposeInvalid);
    }

    #[test]
    fn hints_that_are_no_mirrors_are_left_out() {
        assert!(mirror("http://10.0.2.2:5000").is_some());
        assert!(mirror("http://user:secret@10.0.2.2/").is_none());
    }
}
