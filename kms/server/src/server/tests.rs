//! Whole flows over loopback: real TLS, real channels, real judgements; only the hardware under the
//! quotes is the emulator's.

mod cluster;
mod pads;
mod proxy;
mod public;

use ::tests::emulated::{self, Emulated, image, os_image_hash, pccs};
use agent_client::socket::fixtures::socket;
use attestation::TrustAnchor;
use attestation::kms::{Accepts, KmsRules, VerifiedKms};
use attestation::release_statement::{ReleaseRules, judge_release};
use channel::ChannelError;
use channel::calls::{CallError, Caller};
use protocol::channel::{Refusal, RefusalCode};
use protocol::digest::Sha256Digest;
use protocol::fixtures::binding;
use protocol::kms::{
    AnchorRequest, AnchorResponse, AppKeyResponse, GetAppKeyRequest, GetTimeRequest,
    GetTimeResponse, KmsImage, LedgerRequest, LedgerResponse, OpenDiskRequest, OpenDiskResponse,
    PutImageRequest, Share, SignedRelease, StatusResponse, TimeSource,
};
use protocol::prpc::{Empty, Message};
use tdx_emulator::lie::Lie;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::fixtures::{OwnerKey, Running, Setup, ask, connect_showing};
use super::*;
use crate::judge::GuestJudge;
use crate::member::fixtures::Place;

/// A KMS that accepts quotes under `trusted`, bootstrapped, whose policy names this app; and its
/// directory.
async fn serving(trusted: TrustAnchor, app: &Emulated) -> (Running, TempDir) {
    let (running, directory) = start(trusted).await;
    let pair = KmsImage { os_image_hash: os_image_hash(), compose_hash: app.compose_hash() };
    running.bootstrap(&running.place.policy_file(1, app.app_id(), pair)).await;
    (running, directory)
}

/// The same without a root.
async fn start(trusted: TrustAnchor) -> (Running, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let guest = Emulated::new("kms", true);
    let setup = Setup {
        image: image().clone(),
        file: guest.file.clone(),
        quotes: Box::new(move |report_data| guest.evidence(report_data)),
        anchor: anchor(),
        trusted,
        pccs: pccs(None),
        directory: directory.path().to_owned(),
    };
    (Running::start(setup).await, directory)
}

/// The emulator's root, which a test accepts by name.
fn anchor() -> TrustAnchor {
    TrustAnchor::DangerEmulated(emulated::root())
}

/// A channel to a KMS of this cluster.
async fn connect<A: Attester>(
    address: std::net::SocketAddr,
    key_provider_id: Sha256Digest,
    client: (Role, A),
    accepts: Accepts,
) -> Result<Caller<VerifiedKms>, ChannelError> {
    let minimum_evaluation_number = None;
    let rules = KmsRules { key_provider_id, anchor: anchor(), accepts, minimum_evaluation_number };
    fixtures::connect(address, client, rules).await
}

/// How a client is refused a channel.
fn refusal(outcome: Result<Caller<VerifiedKms>, ChannelError>) -> Refusal {
    match outcome {
        Err(ChannelError::Violation(channel::machine::Violation::Refused(refusal))) => refusal,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("a channel was opened"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_guest_gets_its_keys_opens_its_disk_and_anchors_it() {
    let app = Emulated::new("app", false);
    let (running, _directory) = serving(anchor(), &app).await;
    let mut guest = running.guest(&app).await.unwrap();
    assert!(guest.peer().root().is_some());
    let time: GetTimeResponse = ask(&mut guest, "GetTime", &GetTimeRequest {}).await.unwrap();
    assert_eq!(time.source(), Ok(TimeSource::Machine), "no time servers are named");
    let request = GetAppKeyRequest::default();
    let keys: AppKeyResponse = ask(&mut guest, "GetAppKey", &request).await.unwrap();
    assert_eq!((keys.disk_crypt_key.len(), keys.os_image_hash.len()), (64, 32));
    let opened: OpenDiskResponse = ask(&mut guest, "OpenDisk", &OpenDiskRequest {}).await.unwrap();
    assert_eq!(opened.anchor, None);

    // Once containers run, only the anchor is taken.
    let mut ready = app.clone();
    ready.ready = true;
    let mut ready = running.guest(&ready).await.unwrap();
    let generation = opened.open_counter << 40;
    let request =
        AnchorRequest { open_counter: opened.open_counter, generation, epoch: 0, last: false };
    let anchored: AnchorResponse = ask(&mut ready, "Anchor", &request).await.unwrap();
    assert_eq!(anchored.anchor, generation);
    let late = GetAppKeyRequest::default();
    match ask::<_, _, AppKeyResponse>(&mut ready, "GetAppKey", &late).await {
        Err(CallError::Refused { status: 403, text }) => assert!(text.contains("boot is over")),
        other => panic!("{other:?}"),
    }

    // A second mount, of a clone or after a crash, ends the first.
    let mut clone = running.guest(&app).await.unwrap();
    let second: OpenDiskResponse = ask(&mut clone, "OpenDisk", &OpenDiskRequest {}).await.unwrap();
    assert!(second.open_counter > opened.open_counter);
    assert_eq!(second.anchor, Some(generation));
    match ask::<_, _, AnchorResponse>(&mut ready, "Anchor", &request).await {
        Err(CallError::Refused { status: 409, text }) => assert!(text.starts_with("superseded")),
        other => panic!("{other:?}"),
    }
    let mut owner = running.owner().await.unwrap();
    let ledger: LedgerResponse =
        ask(&mut owner, "Ledger", &LedgerRequest { from: 0 }).await.unwrap();
    kms_rules::audit::verify(ledger.entries.iter().map(String::as_str)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_party_verifies_which_guest_has_keys_by_the_statement_with_its_anchor() {
    let app = Emulated::new("app", false);
    let (running, _directory) = serving(anchor(), &app).await;
    let (id, accepts) = (running.place.config.cluster.id(), Accepts::Listed { minimum_version: 1 });
    let minimum_evaluation_number = None;
    let (key_provider_id, anchor) = (id, anchor());
    let rules = KmsRules { key_provider_id, anchor, accepts, minimum_evaluation_number };
    let key = TlsKey::generate().unwrap();
    let spki = key.spki().to_vec();
    let whose = (Role::Agent, app.clone());
    let mut guest = connect_showing(key, running.address, whose, rules).await.unwrap();
    let asked = GetAppKeyRequest::default();
    let _: AppKeyResponse = ask(&mut guest, "GetAppKey", &asked).await.unwrap();
    let opened: OpenDiskResponse = ask(&mut guest, "OpenDisk", &OpenDiskRequest {}).await.unwrap();
    let open_counter = opened.open_counter;
    let request =
        AnchorRequest { open_counter, generation: open_counter << 40, epoch: 0, last: false };
    let anchored: AnchorResponse = ask(&mut guest, "Anchor", &request).await.unwrap();

    let signed = SignedRelease::parse(anchored.release.as_bytes()).unwrap();
    let rules = ReleaseRules { key_provider_id: id, minimum_epoch: 1 };
    let verified =
        judge_release(&signed, &rules, crate::clock::Clock::of_machine().secs().unwrap()).unwrap();
    let stated = verified.statement();
    assert_eq!((stated.app_id, stated.compose_hash), (app.app_id(), app.compose_hash()));
    assert_eq!((stated.os_image_hash, stated.open_counter), (os_image_hash(), open_counter));
    assert_eq!(stated.agent_key, Sha256Digest::of(&spki));
    let mut owner = running.owner().await.unwrap();
    let ledger: LedgerResponse =
        ask(&mut owner, "Ledger", &LedgerRequest { from: stated.released.entry }).await.unwrap();
    assert_eq!(Sha256Digest::of(ledger.entries[0].as_bytes()), stated.released.hash);
    assert!(ledger.entries[0].contains("released"), "{}", ledger.entries[0]);

    // The owners take the app away: its disk is anchored, and nothing is stated of it any more.
    let mut policy = running.place.policy_file(2, app.app_id(), running.kms);
    policy.apps.clear();
    let policy = running.place.signed(protocol::kms::payload_type::POLICY, &policy);
    let _: Empty = ask(&mut owner, "SetPolicy", &policy).await.unwrap();
    let request = AnchorRequest { generation: request.generation + 1, ..request };
    let anchored: AnchorResponse = ask(&mut guest, "Anchor", &request).await.unwrap();
    assert_eq!((anchored.anchor, anchored.release.as_str()), (request.generation, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_file_and_evidence_under_another_root_open_no_channel() {
    let app = Emulated::new("app", false);
    let (running, _directory) = serving(anchor(), &app).await;
    let other = Emulated::new("other", false);
    assert_eq!(refusal(running.guest(&other).await).code, RefusalCode::Evidence);
    let (hardware, _directory) = serving(TrustAnchor::Intel, &app).await;
    let refused = refusal(hardware.guest(&app).await);
    assert_eq!(refused.code, RefusalCode::Evidence, "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_cannot_be_judged_now_is_told_to_come_again() {
    let app = Emulated::new("app", false);
    let (running, _directory) = serving(anchor(), &app).await;
    let of_guest = binding(Role::Agent);
    let cluster = &running.place.config.cluster;
    for (lie, expected) in [
        (Lie::ExpiredCollateral, RefusalCode::Unavailable),
        (Lie::ExpiredCrl, RefusalCode::Unavailable),
        (Lie::RevokedPck, RefusalCode::Evidence),
    ] {
        let collaterals = Arc::new(crate::collaterals(Some(&pccs(Some(lie)))).unwrap());
        let member = Arc::clone(&running.member);
        let judge = GuestJudge::new(anchor(), cluster, collaterals, member);
        let proof = app.prove(&of_guest).await.unwrap();
        let refused = judge.judge(proof, &of_guest).await.unwrap_err();
        assert_eq!(refused.code, expected, "{lie:?}: {}", refused.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_no_owners_and_guests_have_no_owners_calls() {
    let app = Emulated::new("app", false);
    let (running, _directory) = serving(anchor(), &app).await;
    let image_json = image().to_json();
    let accepts = Accepts::Exactly { images: vec![running.kms], image_json };
    let stranger = running.connect(Role::Owner, OwnerKey([99; 32]), accepts.clone()).await;
    assert_eq!(refusal(stranger).code, RefusalCode::Owner);
    let unattested = running.connect(Role::Unattested, OwnerKey([99; 32]), accepts).await;
    assert_eq!(refusal(unattested).code, RefusalCode::Role);
    let mut guest = running.guest(&app).await.unwrap();
    for method in ["Bootstrap", "TakeShare", "Ledger"] {
        let answer = ask::<_, _, Empty>(&mut guest, method, &Empty {}).await;
        assert!(matches!(answer, Err(CallError::Refused { status: 404, .. })), "{method}");
    }
    let mut owner = running.owner().await.unwrap();
    let keys = ask::<_, _, AppKeyResponse>(&mut owner, "GetAppKey", &Empty {}).await;
    assert!(matches!(keys, Err(CallError::Refused { status: 404, .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_that_hold_all_connections_keep_nobody_out() {
    let app = Emulated::new("app", false);
    let (running, _directory) = serving(anchor(), &app).await;
    let mut strangers = Vec::new();
    for _ in 0..MAX_OPENINGS + 8 {
        strangers.push(TcpStream::connect(running.address).await.unwrap());
    }
    let opened = tokio::time::timeout(Duration::from_secs(30), running.guest(&app)).await;
    let mut guest = opened.expect("a stranger's connection has given way").unwrap();
    let request = GetAppKeyRequest::default();
    let _: AppKeyResponse = ask(&mut guest, "GetAppKey", &request).await.unwrap();
    drop(strangers);
}

#[tokio::test(flavor = "multi_thread")]
async fn before_it_serves_a_kms_takes_owners_and_no_guests() {
    let (running, _directory) = start(anchor()).await;
    let guest = running.guest(&Emulated::new("app", false)).await;
    let refused = refusal(guest);
    assert_eq!(refused.code, RefusalCode::Unavailable);
    assert!(refused.text.contains("unborn"), "{}", refused.text);
    let mut owner = running.owner().await.unwrap();
    let status: StatusResponse = ask(&mut owner, "Status", &Empty {}).await.unwrap();
    assert_eq!(status.state, "unborn");
    assert!(owner.peer().root().is_none());
}
