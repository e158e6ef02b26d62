//! Whole flows over loopback: real TLS, real channels, real judgements; only the hardware under the
//! quotes is the emulator's.

mod cluster;
mod emulated;
mod proxy;
mod public;

use attestation::TrustAnchor;
use attestation::kms::{Accepts, KmsRules, VerifiedKms, judge_kms};
use channel::calls::{CallError, Caller};
use channel::{ChannelError, Side};
use protocol::channel::{Binding, Direction, OwnerProof, Proof, Refusal, RefusalCode};
use protocol::digest::Sha256Digest;
use protocol::evidence::Evidence;
use protocol::kms::{
    AnchorRequest, AnchorResponse, AppKeyResponse, GetAppKeyRequest, KmsImage, KmsService,
    LedgerRequest, LedgerResponse, OpenDiskRequest, OpenDiskResponse, PutImageRequest, Share,
    SignedDocument, Statement, StatusResponse,
};
use protocol::prpc::{Empty, Message};
use tdx_emulator::lie::Lie;
use tokio::net::TcpStream;

use super::*;
use crate::attester::GuestAttester;
use crate::collateral::Collaterals;
use crate::judge::{GuestJudge, now_secs};
use crate::member::fixtures::Place;
use crate::socket::fixtures::socket;
use emulated::{Emulated, anchor, image, os_image_hash, pccs};

/// A KMS in an emulated guest, which listens on loopback.
struct Running {
    place: Place,
    address: std::net::SocketAddr,
    member: Arc<Member>,
    kms: KmsImage,
    _directory: tempfile::TempDir,
}

impl Running {
    /// One that accepts quotes under `trusted`, bootstrapped, whose policy names this app.
    async fn serving(trusted: TrustAnchor, app: &Emulated) -> Self {
        let running = Self::start(trusted).await;
        let mut owner = running.owner().await.unwrap();
        let text = String::from_utf8(image().to_json()).unwrap();
        let _: Empty = ask(&mut owner, "PutImage", &PutImageRequest { image: text }).await.unwrap();
        let status: StatusResponse = ask(&mut owner, "Bootstrap", &Empty {}).await.unwrap();
        let _: Share = ask(&mut owner, "TakeShare", &Empty {}).await.unwrap();
        let pair = KmsImage { os_image_hash: os_image_hash(), compose_hash: app.compose_hash() };
        let place = &running.place;
        let documents = [
            ("CertifyRoot", place.certificate(&status)),
            ("SetList", place.list_of(1, running.kms)),
            ("SetPolicy", place.policy_of(1, app.app_id(), pair)),
        ];
        for (method, document) in documents {
            let _: Empty =
                ask::<_, SignedDocument, _>(&mut owner, method, &document).await.unwrap();
        }
        let status: StatusResponse = ask(&mut owner, "Status", &Empty {}).await.unwrap();
        assert_eq!(status.state, "serving");
        running
    }

    async fn start(trusted: TrustAnchor) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let mut place = Place::new(&data, 1, 1);
        place.config.anchor = trusted.clone();
        let guest = Emulated::new("kms", true);
        let kms = KmsImage { os_image_hash: os_image_hash(), compose_hash: guest.compose_hash() };
        let (file, stated) = (guest.file.clone(), guest.compose_hash());
        let quotes = move |report_data| Some(guest.evidence(report_data));
        let socket = socket(&directory.path().join("dstack.sock"), &file, stated, quotes);
        let collaterals = Arc::new(Collaterals::new(Some(&pccs(None))).unwrap());
        let member = Arc::new(place.start());
        let (cluster, asked) = (place.config.cluster.clone(), Arc::clone(&collaterals));
        let attester =
            GuestAttester::new(cluster, socket, asked, Arc::clone(&member)).await.unwrap();
        let cluster = &place.config.cluster;
        let judge = GuestJudge::new(trusted, cluster, collaterals, Arc::clone(&member));
        let party = party(TlsKey::generate().unwrap(), Arc::new(attester), Arc::new(judge));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve_channels(listener, party, Arc::clone(&member)));
        Self { place, address, member, kms, _directory: directory }
    }

    /// A channel of the owner's tool, which states what it accepts.
    async fn owner(&self) -> Result<Caller<VerifiedKms>, ChannelError> {
        let image_json = image().to_json();
        let accepts = Accepts::Exactly { images: vec![self.kms], image_json };
        let key = OwnerKey(self.place.seed(0));
        self.connect(Role::Owner, key, accepts).await
    }

    /// A channel of a guest, which knows no more than the key provider's id.
    async fn guest(&self, guest: &Emulated) -> Result<Caller<VerifiedKms>, ChannelError> {
        let accepts = Accepts::Listed { minimum_version: 1 };
        self.connect(Role::Agent, guest.clone(), accepts).await
    }

    async fn connect<A: Attester>(
        &self,
        own: Role,
        attester: A,
        accepts: Accepts,
    ) -> Result<Caller<VerifiedKms>, ChannelError> {
        connect(self.address, self.place.config.cluster.id(), (own, attester), accepts).await
    }
}

/// A channel to a KMS of this cluster.
async fn connect<A: Attester>(
    address: std::net::SocketAddr,
    key_provider_id: Sha256Digest,
    (own, attester): (Role, A),
    accepts: Accepts,
) -> Result<Caller<VerifiedKms>, ChannelError> {
    let minimum_evaluation_number = None;
    let rules = KmsRules { key_provider_id, anchor: anchor(), accepts, minimum_evaluation_number };
    let party = Party {
        settings: Settings { own, side: Side::Client { server: Role::App } },
        alpn: ALPN_KMS,
        key: TlsKey::generate().unwrap(),
        attester: Arc::new(attester),
        judge: Arc::new(KmsJudge(rules)),
    };
    let channel = channel::connect(TcpStream::connect(address).await?, &party).await?;
    Ok(Caller::over(channel).await.unwrap())
}

async fn ask<P, A: Message, R: Message>(
    caller: &mut Caller<P>,
    method: &'static str,
    arguments: &A,
) -> Result<R, CallError> {
    let owners = KmsService::Owner.methods().contains(&method);
    let service = if owners { KmsService::Owner } else { KmsService::Guest };
    caller.call(service, method, arguments).await
}

/// Judges a KMS as guests and owners' tools do.
struct KmsJudge(KmsRules);

impl Judge for KmsJudge {
    type Peer = VerifiedKms;

    async fn judge(&self, proof: Proof, binding: &Binding) -> Result<VerifiedKms, Refusal> {
        let statement = Statement::parse(&proof.statement).unwrap();
        let evidence = Evidence::from(proof);
        let report_data = binding.report_data().unwrap();
        let (rules, exporter) = (&self.0, &binding.exporter);
        judge_kms(&evidence, &statement, report_data, exporter, rules, now_secs())
            .map_err(|error| Refusal::new(RefusalCode::Evidence, &protocol::error::chain(&error)))
    }

    async fn judge_owner(&self, _: OwnerProof, _: &[u8]) -> Result<VerifiedKms, Refusal> {
        Err(Refusal::new(RefusalCode::Role, "a KMS is no owner"))
    }

    fn unattested(&self) -> Result<VerifiedKms, Refusal> {
        Err(Refusal::new(RefusalCode::Role, "a KMS proves itself"))
    }
}

/// An owner's tool.
struct OwnerKey([u8; 32]);

impl Attester for OwnerKey {
    async fn prove(&self, _: &Binding) -> Result<Proof, String> {
        Err("an owner has no quote".to_owned())
    }

    async fn sign(&self, signed: &[u8]) -> Result<OwnerProof, String> {
        use ed25519_dalek::Signer as _;
        let key = ed25519_dalek::SigningKey::from_bytes(&self.0);
        let signature = key.sign(signed).to_bytes();
        Ok(OwnerProof { key: key.verifying_key().to_bytes(), signature })
    }
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
    let running = Running::serving(anchor(), &app).await;
    let mut guest = running.guest(&app).await.unwrap();
    assert!(guest.peer().root().is_some());
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
    let request = AnchorRequest { open_counter: opened.open_counter, generation, epoch: 0 };
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
async fn another_file_and_evidence_under_another_root_open_no_channel() {
    let app = Emulated::new("app", false);
    let running = Running::serving(anchor(), &app).await;
    let other = Emulated::new("other", false);
    assert_eq!(refusal(running.guest(&other).await).code, RefusalCode::Evidence);
    let hardware = Running::serving(TrustAnchor::Intel, &app).await;
    let refused = refusal(hardware.guest(&app).await);
    assert_eq!(refused.code, RefusalCode::Evidence, "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_cannot_be_judged_now_is_told_to_come_again() {
    let app = Emulated::new("app", false);
    let running = Running::serving(anchor(), &app).await;
    let of_guest = Binding {
        alpn: ALPN_KMS.to_vec(),
        own: Role::Agent,
        expected: Role::App,
        direction: Direction::ClientToServer,
        own_spki: vec![1],
        peer_spki: vec![2],
        exporter: [3; 32],
        client_nonce: [4; 32],
        server_nonce: [5; 32],
    };
    let cluster = &running.place.config.cluster;
    for (lie, expected) in [
        (Lie::ExpiredCollateral, RefusalCode::Unavailable),
        (Lie::ExpiredCrl, RefusalCode::Unavailable),
        (Lie::RevokedPck, RefusalCode::Evidence),
    ] {
        let collaterals = Arc::new(Collaterals::new(Some(&pccs(Some(lie)))).unwrap());
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
    let running = Running::serving(anchor(), &app).await;
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
async fn before_it_serves_a_kms_takes_owners_and_no_guests() {
    let running = Running::start(anchor()).await;
    let guest = running.guest(&Emulated::new("app", false)).await;
    let refused = refusal(guest);
    assert_eq!(refused.code, RefusalCode::Unavailable);
    assert!(refused.text.contains("unborn"), "{}", refused.text);
    let mut owner = running.owner().await.unwrap();
    let status: StatusResponse = ask(&mut owner, "Status", &Empty {}).await.unwrap();
    assert_eq!(status.state, "unborn");
    assert!(owner.peer().root().is_none());
}
