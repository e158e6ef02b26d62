//! The app's life: started once the system is ready, watched, and stopped when init asks.
//!
//! A compose file, an image or a container that is refused does not end the agent: the guest still
//! serves evidence and says on the status disk why its app does not run.

use std::path::Path;

use compose::digest::ContentDigest;
use compose::{Cause, ComposeError, ComposeFile, Environment, ReferenceError};
use container_images::{Credentials, Limits, Mirror, PullReason, RegistrySettings};
use containers::app::{App, AppSpec, AppState, Failure, FailureKind};
use containers::container::Sockets;
use protocol::app_compose::AppCompose;
use protocol::digest::Sha256Digest;
use protocol::handover::{DSTACK_SOCKET, PAD_SOCKETS, TAPPD_SOCKET};
use protocol::status::{Phase, Refusal, Report};
use tokio::signal::unix::Signal;

use crate::boot::Boot;
use crate::reports::Reports;

/// Certificate roots for registries, part of the measured image.
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Unpacked layers.
const STORE: &str = "/var/lib/dstyx/images";
/// Bundles and state of what runs.
const RUN: &str = "/run/dstyx/app";
/// What containers write, and volumes.
pub const DATA: &str = "/var/lib/dstyx";
/// Servers that the guest asks, by DHCP.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Logs of the services.
pub const LOGS: &str = "/var/log/dstyx";
/// The program that becomes a container.
const HELPER: &str = "/bin/container-helper";

/// Why credentials cannot be used, where the reason may hold one.
const WITHHELD: &str = "the variables for private registries (DSTACK_DOCKER_…) cannot be used; \
    the reason may hold a value of the encrypted environment";

/// Starts the app; returns at once with what everybody asks about it.
pub fn start(boot: &Boot) -> App {
    let refused = |error: &ComposeError| Failure {
        kind: kind_of(error),
        message: format!("docker_compose_file: {error}"),
    };
    let compose = boot.compose.as_deref().map_err(|error| refused(error));
    match compose
        .and_then(|compose| Ok((compose.clone(), credentials(&boot.app, &boot.environment)?)))
    {
        Ok((compose, credentials)) => App::start(spec(boot, compose, credentials)),
        Err(failure) => {
            tracing::error!("the app cannot be started: {}", failure.message);
            App::failed(failure)
        }
    }
}

/// What the app's variables hold for private registries; `brought` are the encrypted ones.
fn credentials(app: &AppCompose, brought: &Environment) -> Result<Credentials, Failure> {
    let failed = |error: &dyn std::error::Error| Failure {
        kind: FailureKind::Compose,
        message: match brought.is_empty() {
            true => error.to_string(),
            false => WITHHELD.to_owned(),
        },
    };
    let environment = Environment::of_directory(&app.files).map_err(|error| failed(&error))?;
    let environment = environment.and(brought);
    Credentials::from_environment(&environment).map_err(|error| failed(&error))
}

/// Reports what becomes of the app; returns when `stop` was asked for and everything has ended.
pub async fn watch(app: &App, reports: &Reports, stop: &mut Signal) {
    let mut states = app.states();
    let mut last = None;
    loop {
        // A service that starts again is no news, unless it was.
        if let Some(report) =
            report(&states.borrow_and_update()).filter(|report| last != Some(*report))
        {
            reports.send_report(report);
            last = Some(report);
        }
        tokio::select! {
            changed = states.changed() => if changed.is_err() { break },
            _ = stop.recv() => return app.stop().await,
        }
    }
    stop.recv().await;
}

/// What of the app's states a host may know.
fn report(state: &AppState) -> Option<Report> {
    match state {
        AppState::Running => Some(Report::new(Phase::AppRunning, Refusal::None)),
        AppState::Failed(failure) => {
            let (refusal, blob) = refusal_of(failure.kind);
            Some(Report { phase: Phase::AppFailed, refusal, blob })
        }
        AppState::Pulling(_) | AppState::Starting | AppState::Stopping | AppState::Stopped => None,
    }
}

fn spec(boot: &Boot, compose: ComposeFile, credentials: Credentials) -> AppSpec {
    let registries = RegistrySettings {
        mirrors: boot
            .handover
            .registry_mirrors
            .iter()
            .filter_map(|address| mirror(address))
            .collect(),
        roots_pem: Some(Path::new(ROOTS).to_owned()),
        insecure: boot.app.insecure_registries.clone(),
        credentials,
        ..RegistrySettings::default()
    };
    AppSpec {
        compose,
        registries,
        store_dir: STORE.into(),
        run_dir: RUN.into(),
        data_dir: DATA.into(),
        log_dir: LOGS.into(),
        resolv_conf: RESOLV_CONF.into(),
        sockets: Sockets {
            dstack: DSTACK_SOCKET.into(),
            tappd: TAPPD_SOCKET.into(),
            pads: PAD_SOCKETS.into(),
        },
        helper: HELPER.into(),
        limits: Limits::default(),
    }
}

/// A mirror is a hint: one that cannot be understood is left out.
fn mirror(address: &str) -> Option<Mirror> {
    Mirror::parse(address).inspect_err(|error| tracing::warn!("mirror: {error}")).ok()
}

fn refusal_of(kind: FailureKind) -> (Refusal, Option<Sha256Digest>) {
    let refusal = match kind {
        FailureKind::Unpinned => Refusal::ImageUnpinned,
        FailureKind::Compose => Refusal::ComposeInvalid,
        FailureKind::Image { reason, blob } => {
            return (refusal_of_image(reason), blob.map(ContentDigest::sha256));
        }
        FailureKind::Container => Refusal::ContainerFailed,
        FailureKind::Internal => Refusal::Internal,
    };
    (refusal, None)
}

/// What a host may know of an image that cannot be had; sources and paths are for `ps`.
fn refusal_of_image(reason: PullReason) -> Refusal {
    match reason {
        PullReason::Unreachable => Refusal::ImageUnreachable,
        PullReason::NotFound => Refusal::ImageNotFound,
        PullReason::Access => Refusal::ImageNoAccess,
        PullReason::Bytes => Refusal::ImageOtherBytes,
        PullReason::Document => Refusal::ImageDocument,
        PullReason::Layer => Refusal::ImageLayer,
        PullReason::Store => Refusal::ImageStore,
        PullReason::Internal => Refusal::ImageRefused,
    }
}

fn kind_of(error: &ComposeError) -> FailureKind {
    if names_no_digest(error) { FailureKind::Unpinned } else { FailureKind::Compose }
}

fn names_no_digest(error: &ComposeError) -> bool {
    let ComposeError::Refused(refusals) = error else { return false };
    refusals
        .iter()
        .any(|refusal| matches!(refusal.cause, Cause::Image(ReferenceError::NoDigest(_))))
}

#[cfg(test)]
mod tests {
    use compose::Inputs;
    use protocol::app_compose::{self, NewApp};

    use super::*;

    fn refusal(compose: &str) -> Refusal {
        let error = ComposeFile::read(compose.as_bytes(), &Inputs::default()).unwrap_err();
        refusal_of(kind_of(&error)).0
    }

    #[test]
    fn an_unpinned_image_is_told_apart_from_other_mistakes() {
        assert_eq!(refusal("services: {web: {image: nginx}}"), Refusal::ImageUnpinned);
        assert_eq!(refusal("services: {web: {image: nginx, unknown: 1}}"), Refusal::ImageUnpinned);
        assert_eq!(refusal("services: 1"), Refusal::ComposeInvalid);
        assert_eq!(refusal("\t"), Refusal::ComposeInvalid);
    }

    #[test]
    fn the_reason_of_an_image_is_told_as_a_code_and_a_digest() {
        let blob = ContentDigest::from_bytes([3; 32]);
        let kind = FailureKind::Image { reason: PullReason::Layer, blob: Some(blob) };
        let failure = Failure { kind, message: "etc/shadow of a private image".into() };
        let told = report(&AppState::Failed(failure)).unwrap();
        assert_eq!((told.refusal, told.blob), (Refusal::ImageLayer, Some(Sha256Digest([3; 32]))));
    }

    #[test]
    fn credentials_come_from_the_measured_and_the_encrypted_environment() {
        let app = |dotenv: &str| {
            let files = [(".env".to_owned(), dotenv.as_bytes().to_vec())].into();
            app_compose::parse(&NewApp::of("a", "{}", &files).generate().unwrap()).unwrap()
        };
        let held = |dotenv: &str, brought: &[(&str, &str)]| {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            credentials(&app(dotenv), &brought.iter().map(owned).collect())
        };
        let both = held("DSTACK_DOCKER_USERNAME=u\nDSTACK_DOCKER_PASSWORD=p\n", &[]).unwrap();
        assert_eq!(both.registries().collect::<Vec<_>>(), ["docker.io"]);
        let brought = [("DSTACK_DOCKER_PASSWORD", "p")];
        let both = held("DSTACK_DOCKER_USERNAME=u\n", &brought).unwrap();
        assert_eq!(both.registries().collect::<Vec<_>>(), ["docker.io"]);
        let failure = held("DSTACK_DOCKER_USERNAME=u\n", &[]).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Compose);
    }

    #[test]
    fn hints_that_are_no_mirrors_are_left_out() {
        assert!(mirror("http://10.0.2.2:5000").is_some());
        assert!(mirror("http://user:secret@10.0.2.2/").is_none());
    }
}
