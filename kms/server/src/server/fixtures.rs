//! A KMS in an emulated guest, which listens on loopback, and its clients: real TLS, real channels,
//! real judgements. Only the hardware under the quotes is somebody else's to give.

#![allow(clippy::unwrap_used)] // a test whose input cannot be made has failed

use std::net::SocketAddr;
use std::path::PathBuf;

use agent_client::socket::fixtures::socket;
use attestation::TrustAnchor;
use attestation::kms::{Accepts, KmsRules, VerifiedKms, judge_kms};
use channel::ChannelError;
use channel::calls::{CallError, Caller};
use kms_rules::policy::PolicyFile;
use protocol::channel::{Binding, OwnerProof, Proof, Refusal, RefusalCode};
use protocol::digest::{ComposeHash, ReportData};
use protocol::evidence::Evidence;
use protocol::image::ImageManifest;
use protocol::kms::{
    KmsImage, KmsService, PutImageRequest, Share, Statement, StatusResponse, payload_type,
};
use protocol::prpc::{Empty, Message};
use tokio::net::TcpStream;

use super::*;
use crate::attester::GuestAttester;
use crate::clock::Clock;
use crate::judge::GuestJudge;
use crate::member::fixtures::Place;

/// What a KMS is started with.
pub struct Setup {
    /// The image of its guest, and of those that it may verify.
    pub image: ImageManifest,
    /// The measured file of its guest.
    pub file: Vec<u8>,
    /// What its guest's agent quotes.
    pub quotes: Box<dyn Fn(ReportData) -> Evidence + Send + Sync>,
    /// Whose signatures are on these quotes.
    pub anchor: TrustAnchor,
    /// Whose signatures count on the quotes of its clients.
    pub trusted: TrustAnchor,
    /// The address of a service with collateral.
    pub pccs: String,
    /// An empty directory.
    pub directory: PathBuf,
}

/// A KMS, as long as its runtime runs.
pub struct Running {
    /// Its cluster.
    pub place: Place,
    /// Where it is reached.
    pub address: SocketAddr,
    /// The pair of image and measured file that it is.
    pub kms: KmsImage,
    /// The process.
    pub member: Arc<Member>,
    anchor: TrustAnchor,
    image: ImageManifest,
}

impl Running {
    /// One without a root.
    pub async fn start(setup: Setup) -> Self {
        let Setup { image, file, quotes, anchor, trusted, pccs, directory } = setup;
        let data = directory.join("data");
        std::fs::create_dir(&data).unwrap();
        let mut place = Place::new(&data, 1, 1);
        place.config.anchor = trusted.clone();
        let compose_hash = ComposeHash::of(&file);
        let kms = KmsImage { os_image_hash: image.os_image_hash(), compose_hash };
        let quotes = move |report_data| Some(quotes(report_data));
        let socket = socket(&directory.join("dstack.sock"), &file, compose_hash, quotes);
        let collaterals = Arc::new(crate::collaterals(Some(&pccs)).unwrap());
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
        Self { place, address, kms, member, anchor, image }
    }

    /// Makes the root; under this policy it serves.
    pub async fn bootstrap(&self, policy: &PolicyFile) {
        let mut owner = self.owner().await.unwrap();
        let text = String::from_utf8(self.image.to_json()).unwrap();
        let _: Empty = ask(&mut owner, "PutImage", &PutImageRequest { image: text }).await.unwrap();
        let status: StatusResponse = ask(&mut owner, "Bootstrap", &Empty {}).await.unwrap();
        let _: Share = ask(&mut owner, "TakeShare", &Empty {}).await.unwrap();
        let documents = [
            ("CertifyRoot", self.place.certificate(&status)),
            ("SetList", self.place.list_of(1, self.kms)),
            ("SetPolicy", self.place.signed(payload_type::POLICY, policy)),
        ];
        for (method, document) in documents {
            let _: Empty = ask(&mut owner, method, &document).await.unwrap();
        }
        let status: StatusResponse = ask(&mut owner, "Status", &Empty {}).await.unwrap();
        assert_eq!(status.state, "serving");
    }

    /// A channel of the owner's tool, which states what it accepts.
    ///
    /// # Errors
    /// If none is opened, as for the channels below.
    pub async fn owner(&self) -> Result<Caller<VerifiedKms>, ChannelError> {
        let accepts = Accepts::Exactly { images: vec![self.kms], image_json: self.image.to_json() };
        self.connect(Role::Owner, OwnerKey(self.place.seed(0)), accepts).await
    }

    /// A channel of a guest, which knows no more than the key provider's id.
    ///
    /// # Errors
    /// See [`Self::owner`].
    pub async fn guest<A>(&self, guest: &A) -> Result<Caller<VerifiedKms>, ChannelError>
    where
        A: Attester + Clone,
    {
        let accepts = Accepts::Listed { minimum_version: 1 };
        self.connect(Role::Agent, guest.clone(), accepts).await
    }

    /// A channel of a guest's middleware.
    ///
    /// # Errors
    /// See [`Self::owner`].
    pub async fn middleware<A>(&self, guest: &A) -> Result<Caller<VerifiedKms>, ChannelError>
    where
        A: Attester + Clone,
    {
        let accepts = Accepts::Listed { minimum_version: 1 };
        self.connect(Role::Pads, guest.clone(), accepts).await
    }

    /// A channel of the key with this seed, which states what it accepts as owners do.
    ///
    /// # Errors
    /// See [`Self::owner`].
    pub async fn custodian(&self, seed: [u8; 32]) -> Result<Caller<VerifiedKms>, ChannelError> {
        let accepts = Accepts::Exactly { images: vec![self.kms], image_json: self.image.to_json() };
        self.connect(Role::Owner, OwnerKey(seed), accepts).await
    }

    /// A channel of any client.
    ///
    /// # Errors
    /// See [`Self::owner`].
    pub async fn connect<A: Attester>(
        &self,
        own: Role,
        attester: A,
        accepts: Accepts,
    ) -> Result<Caller<VerifiedKms>, ChannelError> {
        let (key_provider_id, anchor) = (self.place.config.cluster.id(), self.anchor.clone());
        let minimum_evaluation_number = None;
        let rules = KmsRules { key_provider_id, anchor, accepts, minimum_evaluation_number };
        connect(self.address, (own, attester), rules).await
    }
}

/// A channel to whatever listens there, which must be the KMS of these rules.
///
/// # Errors
/// If none is opened.
pub async fn connect<A: Attester>(
    address: SocketAddr,
    client: (Role, A),
    rules: KmsRules,
) -> Result<Caller<VerifiedKms>, ChannelError> {
    connect_showing(TlsKey::generate().unwrap(), address, client, rules).await
}

/// The same with a key of the caller's.
pub(super) async fn connect_showing<A: Attester>(
    key: TlsKey,
    address: SocketAddr,
    (own, attester): (Role, A),
    rules: KmsRules,
) -> Result<Caller<VerifiedKms>, ChannelError> {
    let party = Party {
        settings: Settings { own, side: Side::Client { server: Role::App } },
        alpn: ALPN_KMS,
        key,
        attester: Arc::new(attester),
        judge: Arc::new(KmsJudge(rules)),
    };
    let stream = TcpStream::connect(address).await?;
    // As agents do.
    stream.set_nodelay(true)?;
    let channel = channel::connect(stream, &party).await?;
    Ok(Caller::over(channel).await.unwrap())
}

/// One call, of the first service that has it.
///
/// # Errors
/// If it has no answer.
pub async fn ask<P, A: Message, R: Message>(
    caller: &mut Caller<P>,
    method: &'static str,
    arguments: &A,
) -> Result<R, CallError> {
    use KmsService::{Custodian, Guest, Middleware, Owner};
    let services = [Guest, Owner, Custodian, Middleware];
    let service = services.into_iter().find(|service| service.methods().contains(&method));
    caller.call(service.unwrap_or(Guest), method, arguments).await
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
        let now_secs = Clock::of_machine().secs().unwrap();
        judge_kms(&evidence, &statement, report_data, exporter, rules, now_secs)
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
pub(super) struct OwnerKey(pub(super) [u8; 32]);

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
