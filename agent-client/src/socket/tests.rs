//! An honest agent, one that lies, and none.

use protocol::event_log::RuntimeEvent;
use protocol::fixtures::{claims, evidence_of};

use super::fixtures::socket;
use super::*;

const FILE: &[u8] = b"{\"a\": 1}";

#[tokio::test]
async fn the_agent_gives_the_measured_file_and_evidence_with_claims() {
    let directory = tempfile::tempdir().unwrap();
    let quotes = |report_data| {
        assert_eq!(report_data, ReportData([7; 64]));
        let event_log = vec![RuntimeEvent::new("app-id", [7; 20]).to_raw()];
        Some(Evidence { event_log, ..evidence_of(&[4; 100]) })
    };
    let path = directory.path().join("dstack.sock");
    let socket = socket(&path, FILE, ComposeHash::of(FILE), quotes);
    assert_eq!(socket.app_compose().await.unwrap(), FILE);
    let evidence = socket.attest(&ReportData([7; 64])).await.unwrap();
    assert_eq!(evidence.claims, claims());
    assert_eq!((evidence.quote.len(), evidence.event_log.len()), (100, 1));
}

#[tokio::test]
async fn another_file_a_refusal_and_no_agent_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dstack.sock");
    let socket = socket(&path, FILE, ComposeHash([1; 32]), |_| None);
    assert!(matches!(socket.app_compose().await, Err(SocketError::Compose { .. })));
    match socket.attest(&ReportData([8; 64])).await {
        Err(SocketError::Refused { text, .. }) => assert_eq!(text, "no quote now"),
        other => panic!("{other:?}"),
    }
    let nowhere = Socket { path: directory.path().join("nothing") };
    assert!(matches!(nowhere.app_compose().await, Err(SocketError::Connect { .. })));
}
