use std::sync::Arc;

use hyper::body::Incoming;
use protocol::event_log::RuntimeEvent;
use protocol::fixtures;
use protocol::prpc::guest::{self, Service};
use service::budget::Budget;
use service::prpc::{CallError, Calls, status};
use service::{Answer, Answers};
use tokio::net::UnixListener;

use super::*;

/// An agent as a container sees it; its file has this hash by its own word.
struct Agent {
    budget: Budget,
    stated: ComposeHash,
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Prpc(#[from] PrpcError),
    #[error("no quote now")]
    NoQuote,
}

impl CallError for Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Prpc(error) => status(error),
            Self::NoQuote => StatusCode::SERVICE_UNAVAILABLE,
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
                let tcb_info = serde_json::json!({"mrtd": "", "app_compose": "{\"a\": 1}"});
                let compose_hash = self.stated.0.to_vec();
                let info =
                    AppInfo { tcb_info: tcb_info.to_string(), compose_hash, ..AppInfo::default() };
                Ok(prpc::encode(&info, encoding))
            }
            guest::Request::Attest(args) if args.report_data == [7; 64] => {
                let log = [RuntimeEvent::new("app-id", [7; 20]).to_raw()];
                let config = foreign::vm_config(&fixtures::claims());
                let report_data = ReportData([7; 64]);
                let attestation = foreign::scale::encode(&[4; 100], &log, &report_data, &config);
                Ok(prpc::encode(&AttestResponse { attestation }, encoding))
            }
            _ => Err(Refusal::NoQuote),
        }
    }
}

async fn socket(stated: ComposeHash) -> (tempfile::TempDir, Socket) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dstack.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let agent = Agent { budget: Budget::new(1 << 20), stated };
    tokio::spawn(service::serve(listener, Arc::new(agent), 8));
    (directory, Socket { path })
}

#[tokio::test]
async fn the_agent_gives_the_measured_file_and_evidence_with_claims() {
    let (_directory, socket) = socket(ComposeHash::of(b"{\"a\": 1}")).await;
    assert_eq!(socket.app_compose().await.unwrap(), b"{\"a\": 1}");
    let evidence = socket.attest(&ReportData([7; 64])).await.unwrap();
    assert_eq!(evidence.claims, fixtures::claims());
    assert_eq!((evidence.quote.len(), evidence.event_log.len()), (100, 1));
}

#[tokio::test]
async fn another_file_a_refusal_and_no_agent_are_errors() {
    let (directory, socket) = socket(ComposeHash([1; 32])).await;
    assert!(matches!(socket.app_compose().await, Err(SocketError::Compose { .. })));
    match socket.attest(&ReportData([8; 64])).await {
        Err(SocketError::Refused { text, .. }) => assert_eq!(text, "no quote now"),
        other => panic!("{other:?}"),
    }
    let nowhere = Socket { path: directory.path().join("nothing") };
    assert!(matches!(nowhere.app_compose().await, Err(SocketError::Connect { .. })));
}
