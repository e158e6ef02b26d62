//! What can be asked, by which exact spelling, and what the measured file must say for it.

use std::path::PathBuf;
use std::sync::Arc;

use containers::app::App;
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use protocol::app_compose::AppCompose;
use protocol::app_status::Document as _;
use protocol::prpc::guest::Service;
use service::answer::{json, of_type, refusal};
use service::{Answer, Answers};
use tokio::sync::Semaphore;

use super::evidence::EvidencePage;
use super::{app, logs, metrics, page};
use crate::api::Api;
use crate::api::socket::Socket;
use crate::boot::Boot;
use crate::info;
use crate::quotes::QuoteDesk;

/// What there is.
const ROUTES_HINT: &str = "there are GET /, /evidence?nonce=NONCE, /info, /release, /ps, /stats, /events, /logs/NAME, /metrics, and dstack's \
                           /prpc/Worker.Info";
/// Type of Prometheus' text.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What an app can publish in its measured file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Permission {
    Logs,
    SysInfo,
}

impl Permission {
    fn given(self, app: &AppCompose) -> bool {
        match self {
            Self::Logs => app.public_logs,
            Self::SysInfo => app.public_sysinfo,
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Logs => "public_logs",
            Self::SysInfo => "public_sysinfo",
        }
    }
}

/// Answers for the guest.
#[derive(Debug)]
pub struct Port {
    boot: Boot,
    desk: Arc<QuoteDesk>,
    worker: Socket,
    evidence: EvidencePage,
    app: App,
    log_dir: PathBuf,
    followers: Arc<Semaphore>,
}

impl Port {
    /// For a completed boot and its app, whose logs are in `log_dir`.
    pub fn new(
        boot: &Boot,
        desk: Arc<QuoteDesk>,
        api: Arc<Api>,
        app: App,
        log_dir: PathBuf,
    ) -> Self {
        Self {
            boot: boot.clone(),
            desk,
            worker: Socket::new(api, Service::Worker),
            evidence: EvidencePage::new(boot),
            app,
            log_dir,
            followers: Arc::new(Semaphore::new(logs::MAX_FOLLOWERS)),
        }
    }

    async fn get(&self, path: &str, query: Option<&str>) -> Answer {
        let permission = match path {
            "/ps" | "/stats" | "/events" | "/metrics" => Some(Permission::SysInfo),
            _ if path.starts_with("/logs/") => Some(Permission::Logs),
            _ => None,
        };
        if let Some(permission) = permission.filter(|permission| !permission.given(&self.boot.app))
        {
            return forbidden(path, permission);
        }
        match (path, query) {
            ("/evidence", query) => self.evidence.answer(&self.boot, &self.desk, query).await,
            ("/events", query) => self.events(query).await,
            ("/" | "/info" | "/release" | "/ps" | "/stats" | "/metrics", Some(_)) => refusal(
                StatusCode::BAD_REQUEST,
                &format!("{path} takes no parameters"),
                "leave them out",
            ),
            ("/", None) => self.made(page::answer).await,
            ("/info", None) => self.info().await,
            ("/release", None) => self.release(),
            ("/ps", None) => self.made(|_, app| json(app::status(app).to_json())).await,
            ("/stats", None) => self.made(|_, app| json(app::usages(app).to_json())).await,
            ("/metrics", None) => {
                let text = |app: &App| metrics::text(app).into_bytes();
                self.made(move |_, app| of_type(StatusCode::OK, METRICS_TYPE, text(app))).await
            }
            _ => match path.strip_prefix("/logs/") {
                Some(name) => {
                    logs::answer(&self.log_dir, &self.app, name, query, &self.followers).await
                }
                None => refusal(StatusCode::NOT_FOUND, "nothing is here", ROUTES_HINT),
            },
        }
    }

    /// An answer that is made from files of the kernel, or takes a while: on a thread of its own.
    async fn made(&self, make: impl FnOnce(&Boot, &App) -> Answer + Send + 'static) -> Answer {
        let (boot, app) = (self.boot.clone(), self.app.clone());
        let made = tokio::task::spawn_blocking(move || make(&boot, &app)).await;
        made.unwrap_or_else(|error| {
            refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), "ask again")
        })
    }

    async fn events(&self, query: Option<&str>) -> Answer {
        let after = match query {
            None => Some(0),
            Some(query) => query.strip_prefix("after=").and_then(|number| number.parse().ok()),
        };
        match after {
            Some(after) => {
                self.made(move |boot, app| {
                    json(app::events(app, after, boot.app.public_logs).to_json())
                })
                .await
            }
            None => refusal(
                StatusCode::BAD_REQUEST,
                "the one parameter is after, a number",
                "ask GET /events",
            ),
        }
    }

    /// What the KMS signed of this guest's keys, word for word.
    fn release(&self) -> Answer {
        match self.boot.anchors.as_ref().and_then(|anchors| anchors.release()) {
            Some(release) => json(release.as_bytes().to_vec()),
            None => refusal(
                StatusCode::NOT_FOUND,
                "this guest has no release statement",
                "a guest that has keys of a KMS gets one with each anchor, every two minutes",
            ),
        }
    }

    async fn info(&self) -> Answer {
        // Registers are read from files that the TDX module answers.
        self.made(|boot, _| match info::info(boot) {
            Ok(info) => json(info.to_json()),
            Err(error) => {
                refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), "ask again")
            }
        })
        .await
    }
}

impl Answers for Port {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if request.uri().path().starts_with("/prpc") {
            return match *request.method() {
                Method::GET | Method::POST => self.worker.answer(request).await,
                _ => refusal(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "only GET and POST are answered",
                    ROUTES_HINT,
                ),
            };
        }
        if request.method() != Method::GET {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered", ROUTES_HINT);
        }
        self.get(request.uri().path(), request.uri().query()).await
    }
}

fn forbidden(path: &str, permission: Permission) -> Answer {
    let key = permission.key();
    let path = if permission == Permission::Logs { "/logs" } else { path };
    refusal(
        StatusCode::FORBIDDEN,
        &format!(
            "this app does not publish {path}: its measured app-compose.json does not say \"{key}\": true"
        ),
        &format!(
            "set \"{key}\": true in app-compose.json and start the app anew; its compose hash changes"
        ),
    )
}
