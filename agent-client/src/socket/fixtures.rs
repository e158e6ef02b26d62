//! A guest's agent for tests, whose quotes a test makes.

#![allow(clippy::unwrap_used)] // a test whose input cannot be made has failed

use std::path::Path;
use std::sync::Arc;

use hyper::body::Incoming;
use protocol::digest::{AppId, Sha256Digest};
use protocol::prpc::guest::{self, Service};
use service::budget::Budget;
use service::prpc::{CallError, Calls, status};
use service::{Answer, Answers};
use tokio::net::UnixListener;

use super::*;

/// What a guest answers to a request for a quote; `None` refuses.
type Quotes = Box<dyn Fn(ReportData) -> Option<Evidence> + Send + Sync>;
/// What its KMS says of it, and when; `None` is nothing.
type Releases = Box<dyn Fn() -> Option<ReleaseResponse> + Send + Sync>;

/// An agent as a container sees it.
struct Agent {
    budget: Budget,
    file: Vec<u8>,
    /// The file's hash by the agent's own word.
    stated: ComposeHash,
    instance: [u8; 20],
    quotes: Quotes,
    releases: Releases,
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Prpc(#[from] PrpcError),
    #[error("no quote now")]
    NoQuote,
    #[error("no release statement")]
    NoRelease,
}

impl CallError for Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Prpc(error) => status(error),
            Self::NoQuote | Self::NoRelease => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl Answers for Agent {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        service::prpc::respond(self, request).await
    }
}

impl Calls for Agent {
    type Error = Refusal;

    fn budget(&self) -> &Budget {
        &self.budget
    }

    fn name(&self) -> &'static str {
        "DstackGuest"
    }

    fn method(&self, path: &str) -> Result<&'static str, PrpcError> {
        Service::DstackGuest.method(path)
    }

    async fn call(
        &self,
        method: &'static str,
        arguments: Arguments<'_>,
    ) -> Result<Vec<u8>, Refusal> {
        let encoding = arguments.encoding();
        match Service::DstackGuest.read(method, arguments)? {
            guest::Request::Info => {
                let file = String::from_utf8(self.file.clone()).unwrap();
                let tcb_info = serde_json::json!({"mrtd": "", "app_compose": file});
                let compose_hash = self.stated.0.to_vec();
                let info = AppInfo {
                    app_id: AppId::from_compose_hash(&self.stated).0.to_vec(),
                    instance_id: self.instance.to_vec(),
                    tcb_info: tcb_info.to_string(),
                    compose_hash,
                    ..AppInfo::default()
                };
                Ok(prpc::encode(&info, encoding))
            }
            guest::Request::GetKey(args) => {
                let key = Sha256Digest::of(args.path.as_bytes()).0.to_vec();
                let answer = GetKeyResponse { key, ..GetKeyResponse::default() };
                Ok(prpc::encode(&answer, encoding))
            }
            guest::Request::Attest(args) => {
                let report_data = ReportData(args.report_data.try_into().unwrap());
                let evidence = (self.quotes)(report_data).ok_or(Refusal::NoQuote)?;
                let Evidence { quote, event_log, claims, .. } = evidence;
                let config = foreign::vm_config(&claims);
                let attestation = foreign::scale::encode(&quote, &event_log, &report_data, &config);
                Ok(prpc::encode(&AttestResponse { attestation }, encoding))
            }
            guest::Request::Release => {
                let release = (self.releases)().ok_or(Refusal::NoRelease)?;
                Ok(prpc::encode(&release, encoding))
            }
            _ => Err(Refusal::NoQuote),
        }
    }
}

/// A socket of an agent with this measured file.
pub fn socket(
    path: &Path,
    file: &[u8],
    stated: ComposeHash,
    quotes: impl Fn(ReportData) -> Option<Evidence> + Send + Sync + 'static,
) -> Socket {
    socket_of(path, (file, [0xbb; 20]), stated, quotes)
}

/// The same of an instance of a test's choice.
pub fn socket_of(
    path: &Path,
    guest: (&[u8], [u8; 20]),
    stated: ComposeHash,
    quotes: impl Fn(ReportData) -> Option<Evidence> + Send + Sync + 'static,
) -> Socket {
    socket_stating(path, guest, stated, quotes, || None)
}

/// The same of a guest of which a KMS says something.
pub fn socket_stating(
    path: &Path,
    (file, instance): (&[u8], [u8; 20]),
    stated: ComposeHash,
    quotes: impl Fn(ReportData) -> Option<Evidence> + Send + Sync + 'static,
    releases: impl Fn() -> Option<ReleaseResponse> + Send + Sync + 'static,
) -> Socket {
    let listener = UnixListener::bind(path).unwrap();
    let (file, budget) = (file.to_vec(), Budget::new(16 << 20));
    let (quotes, releases) = (Box::new(quotes), Box::new(releases));
    let agent = Agent { budget, file, stated, instance, quotes, releases };
    tokio::spawn(service::serve(listener, Arc::new(agent), 8));
    Socket { path: path.to_owned() }
}
