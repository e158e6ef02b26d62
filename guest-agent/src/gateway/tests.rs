//! The whole way on loopback: a client, the edge of a gateway, a tunnel that a guest dialled, and
//! the app; and what is not the gateway. Only the hardware under the quotes and the KMS are the
//! test's.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::tests::emulated::{Emulated, collateral_json, image, os_image_hash, root};
use agent_client::Collaterals;
use agent_client::socket::fixtures::socket_stating;
use attestation::released::ReleasedRefusal;
use attestation::{Collateral, MeasuredApp, TrustAnchor};
use compose::{ComposeFile, Inputs};
use containers::app::AppState;
use gateway::edge::{Edge, Settings as EdgeSettings};
use gateway::fixtures::Records;
use gateway::guests::fixtures::Kms;
use gateway::guests::{GuestJudge, Identity, Images, Terms};
use gateway::tunnels::Tunnels;
use gateway_rules::guests::{Guests, TunnelId};
use gateway_rules::names::{DomainName, RouteId};
use protocol::app_compose::{AppFiles, NewApp, PortPolicy};
use protocol::digest::{InstanceId, ReportData, Sha256Digest};
use protocol::kms::ReleaseStatement;
use protocol::prpc::ReleaseResponse;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tdx_emulator::pki::machine::Machine;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use super::judge::{GatewayRefusal, judge_gateway};
use super::*;

/// The KMS of guest and gateway.
const KMS: Kms = Kms { seed: 1 };
const BASE: &str = "apps.example";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn guest(name: &str, instance: u8) -> Emulated {
    let files = AppFiles::new();
    let key_provider = KeyProvider::Kms { id: KMS.id() };
    let new = NewApp {
        key_provider,
        gateway_enabled: true,
        ..NewApp::of(name, ::tests::scene::COMPOSE, &files)
    };
    let mut guest = Emulated::of(Machine::default(), new.generate().unwrap(), true);
    guest.instance = instance;
    guest
}

/// What a KMS states of a guest whose agent shows this key, for so long.
fn stated(kms: Kms, guest: &Emulated, spki: &[u8], holds_secs: u64) -> ReleaseStatement {
    let app = MeasuredApp {
        app_id: guest.app_id(),
        instance_id: Some(InstanceId([guest.instance; 20])),
        compose_hash: guest.compose_hash(),
    };
    ReleaseStatement {
        os_image_hash: os_image_hash(),
        agent_key: Sha256Digest::of(spki),
        not_after_secs: now() + holds_secs,
        ..kms.statement(&app, now())
    }
}

fn rules() -> ReleasedRules {
    ReleasedRules {
        anchor: TrustAnchor::DangerEmulated(root()),
        release: ReleaseRules { key_provider_id: KMS.id(), minimum_epoch: 1 },
        platform: PlatformRules::default(),
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 30 s: {what}");
}

/// A gateway on loopback.
struct Gateway {
    guest: Emulated,
    edge: SocketAddr,
    leaf: CertificateDer<'static>,
    guests: Arc<Mutex<Guests>>,
    _directory: TempDir,
    _ending: watch::Sender<bool>,
}

impl Gateway {
    /// Takes guests at this address.
    async fn start(address: SocketAddr) -> Self {
        let (guest, directory) = (guest("gateway", 0xee), tempfile::tempdir().unwrap());
        let (quoting, shown) = (guest.clone(), guest.clone());
        let socket = socket_stating(
            &directory.path().join("dstack.sock"),
            (&guest.file, [0xee; 20]),
            guest.compose_hash(),
            move |report_data| Some(quoting.evidence(report_data)),
            move || {
                let release = KMS.signed(&stated(KMS, &shown, b"its agent", 3600));
                Some(ReleaseResponse { release, time_secs: now() })
            },
        );
        let collaterals = Collaterals::new(|_| Collateral::parse(&collateral_json()));
        let image = String::from_utf8(image().to_json()).unwrap();
        let images = Images::read(&[image]).unwrap();
        let identity = Identity::new(socket, Arc::new(collaterals), images).await.unwrap();
        let (identity, anchor) = (Arc::new(identity), TrustAnchor::DangerEmulated(root()));
        let terms = Terms { anchor, platform: PlatformRules::default(), minimum_epoch: 1 };
        let judge = Arc::new(GuestJudge::new(&identity, terms));
        let guests: Arc<Mutex<Guests>> = Arc::default();
        let tunnels = Tunnels::new(Arc::clone(&guests));
        let listener = TcpListener::bind(address).await.unwrap();
        tokio::spawn(gateway::guests::serve(listener, Arc::clone(&tunnels), identity, judge));
        let base = DomainName::parse(BASE).unwrap();
        let settings = EdgeSettings::new(vec![base.clone()], 100);
        let edge = Edge::new(settings, Arc::clone(&guests), tunnels, Records::default()).unwrap();
        let pair = rcgen::KeyPair::generate().unwrap();
        let names = rcgen::CertificateParams::new(vec![format!("*.{BASE}")]).unwrap();
        let leaf = names.self_signed(&pair).unwrap().der().clone();
        let key = PrivatePkcs8KeyDer::from(pair.serialize_der()).into();
        let since = Duration::from_secs(now());
        edge.certificates().install(&base, vec![leaf.clone()], key, since).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (ending, told) = watch::channel(false);
        let served = listener.local_addr().unwrap();
        tokio::spawn(edge.serve(listener, told));
        Self { guest, edge: served, leaf, guests, _directory: directory, _ending: ending }
    }

    /// What a client at the edge gets for what it sends to a port of an app.
    async fn ask(&self, app: AppId, port: NonZeroU16, sent: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.leaf.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(format!("{app}-{port}.{BASE}")).unwrap();
        let stream = TcpStream::connect(self.edge).await?;
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        stream.write_all(sent).await?;
        stream.shutdown().await?;
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await?;
        Ok(got)
    }

    /// Whether an app is routed to, and whether it is ready.
    fn found(&self, app: AppId, port: NonZeroU16) -> Option<bool> {
        let guests = self.guests.lock().unwrap();
        guests.find(RouteId(app.0), port)?.1.first().map(|candidate| candidate.ready)
    }

    fn tunnels(&self, instance: InstanceId, port: NonZeroU16) -> Vec<TunnelId> {
        let guests = self.guests.lock().unwrap();
        guests.way(instance, port).map(|(tunnels, _)| tunnels.to_vec()).unwrap_or_default()
    }
}

/// What a KMS says of a guest, as a test changes it.
type Stated = Arc<Mutex<Option<Arc<str>>>>;

/// Proves a guest by the emulator's quotes.
struct EmulatedProof {
    guest: Emulated,
    stated: Stated,
}

impl Attester for EmulatedProof {
    async fn prove(&self, binding: &Binding) -> Result<Proof, String> {
        let release = self.stated.lock().unwrap().clone().ok_or("nothing is stated")?;
        let statement =
            TunnelStatement { release: release.to_string(), image: None, collateral: None };
        let proof = self.guest.prove(binding).await?;
        Ok(Proof { statement: statement.to_json(), ..proof })
    }
}

/// A guest that dials.
struct Dialling {
    guest: Emulated,
    key: TlsKey,
    stated: Stated,
    state: watch::Sender<AppState>,
    task: tokio::task::JoinHandle<()>,
}

impl Dialling {
    /// Dials these addresses; the app publishes a port.
    fn start(gateway: AppId, addresses: &[SocketAddr], port: NonZeroU16) -> Self {
        let (guest, key, stated) =
            (guest("app", 0xcc), TlsKey::generate().unwrap(), Stated::default());
        let (state, app) = watch::channel(AppState::Starting);
        let image = format!("a.example/b@sha256:{}", "0a".repeat(32));
        let text = format!("services: {{web: {{image: \"{image}\", ports: [\"{port}:80\"]}}}}");
        let compose = ComposeFile::read(text.as_bytes(), &Inputs::default()).unwrap();
        let urls: Vec<_> = addresses.iter().map(|it| format!("https://{it}")).collect();
        let attester = EmulatedProof { guest: guest.clone(), stated: Arc::clone(&stated) };
        let told = Arc::clone(&stated);
        let dialler = Arc::new(Dialler {
            party: party(key.clone(), attester, TheGateway::new(gateway, rules(), now)),
            release: Box::new(move || told.lock().unwrap().clone()),
            app,
            ports: Ports::of(Some(&compose), &PortPolicy::default()),
            candidates: Candidates::of(super::addresses(&urls), &InstanceId([guest.instance; 20])),
            streams: dialler::streams(),
        });
        let task = tokio::spawn(dialler.run());
        Self { guest, key, stated, state, task }
    }

    /// The KMS states something of it that holds for so long.
    fn say(&self, holds_secs: u64) {
        let statement = stated(KMS, &self.guest, self.key.spki(), holds_secs);
        *self.stated.lock().unwrap() = Some(KMS.signed(&statement).into());
    }
}

/// A port of loopback on which nothing listens yet.
async fn free_port() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    listener.local_addr().unwrap()
}

/// A program that sends back what it gets.
async fn echo() -> NonZeroU16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reads, mut writes) = stream.split();
                let _ = tokio::io::copy(&mut reads, &mut writes).await;
                let _ = writes.shutdown().await;
            });
        }
    });
    NonZeroU16::new(port).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_reaches_the_app_of_a_guest_that_dialled_a_gateway_which_came_later() {
    let (address, port) = (free_port().await, echo().await);
    let gateway_id = guest("gateway", 0xee).app_id();
    let dialling = Dialling::start(gateway_id, &[address], port);
    // Neither the gateway nor the KMS's statement is there yet.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let gateway = Gateway::start(address).await;
    assert_eq!(gateway.guest.app_id(), gateway_id);
    dialling.say(3600);
    let (app, instance) = (dialling.guest.app_id(), InstanceId([0xcc; 20]));
    until("two tunnels", || gateway.tunnels(instance, port).len() == 2).await;
    assert_eq!(gateway.found(app, port), Some(false), "the app is not ready");
    dialling.state.send_replace(AppState::Running);
    until("the app is ready", || gateway.found(app, port) == Some(true)).await;
    let sent = vec![7; 300_000];
    assert!(gateway.ask(app, port, &sent).await.unwrap() == sent);
    // What the app does not publish is not reached, though something listens there.
    let other = echo().await;
    assert!(gateway.ask(app, other, b"hello").await.is_err());
    // A guest that ends is led to no longer.
    dialling.task.abort();
    until("it is gone", || gateway.found(app, port).is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_lasts_as_long_as_the_kms_goes_on_to_vouch_for_the_guest() {
    let (address, port) = (free_port().await, echo().await);
    let gateway = Gateway::start(address).await;
    let dialling = Dialling::start(gateway.guest.app_id(), &[address], port);
    let (app, instance) = (dialling.guest.app_id(), InstanceId([0xcc; 20]));
    dialling.say(5);
    until("two tunnels", || gateway.tunnels(instance, port).len() == 2).await;
    let tunnels = gateway.tunnels(instance, port);
    // A later statement, inside of the tunnels.
    dialling.say(12);
    dialling.state.send_replace(AppState::Running);
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(gateway.tunnels(instance, port), tunnels);
    // None any more: both end, and none comes about.
    until("the statement has ended", || gateway.found(app, port).is_none()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(gateway.found(app, port), None);
    dialling.say(3600);
    until("the guest is back", || gateway.found(app, port).is_some()).await;
    assert_eq!(gateway.ask(app, port, b"again").await.unwrap(), b"again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_the_host_s_choice_leads_to_no_gateway_but_the_named_one() {
    let (address, port) = (free_port().await, echo().await);
    let gateway = Gateway::start(address).await;
    // The same KMS vouches for what answers, which is another app than it named.
    let dialling = Dialling::start(AppId([9; 20]), &[address], port);
    dialling.say(3600);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(gateway.found(dialling.guest.app_id(), port), None);
}

/// What a gateway shows on a connection.
fn shown(
    gateway: &Emulated,
    bound: ReportData,
    change: impl FnOnce(&mut TunnelStatement),
) -> Proof {
    let evidence = gateway.evidence(bound);
    let mut statement = TunnelStatement {
        release: KMS.signed(&stated(KMS, gateway, b"its agent", 3600)),
        image: Some(String::from_utf8(image().to_json()).unwrap()),
        collateral: Some(String::from_utf8(collateral_json()).unwrap()),
    };
    change(&mut statement);
    Proof {
        quote: evidence.quote,
        event_log: evidence.event_log,
        claims: evidence.claims,
        app_compose: gateway.file.clone(),
        statement: statement.to_json(),
    }
}

#[test]
fn what_is_not_the_named_gateway_is_refused_whatever_it_states() {
    const BOUND: ReportData = ReportData([7; 64]);
    let gateway = guest("gateway", 0xee);
    let judge = |proof, app_id| judge_gateway(proof, BOUND, app_id, &rules(), now());
    let own =
        |change: fn(&mut TunnelStatement)| judge(shown(&gateway, BOUND, change), gateway.app_id());
    own(|_| {}).unwrap();
    let other = judge(shown(&gateway, BOUND, |_| {}), AppId([9; 20]));
    assert!(matches!(other, Err(GatewayRefusal::OtherApp { .. })), "{other:?}");
    // A stranger's program under the gateway's id, with the gateway's own statement.
    let mut stranger = guest("stranger", 0xee);
    stranger.stated_app = Some(gateway.app_id());
    let release = KMS.signed(&stated(KMS, &gateway, b"its agent", 3600));
    let copied = shown(&stranger, BOUND, |statement| statement.release = release);
    let copied = judge(copied, gateway.app_id());
    let evidence =
        |it: &_| matches!(it, Err(GatewayRefusal::Released(ReleasedRefusal::Evidence(_))));
    assert!(evidence(&copied), "{copied:?}");
    // Evidence of another connection.
    let saved = judge(shown(&gateway, ReportData([8; 64]), |_| {}), gateway.app_id());
    assert!(evidence(&saved), "{saved:?}");
    assert!(evidence(&own(|statement| statement.collateral = None)));
    assert!(matches!(own(|it| it.image = None), Err(GatewayRefusal::NoImage)));
    assert!(matches!(own(|it| it.image = Some("{}".into())), Err(GatewayRefusal::Image(_))));
    let strangers = Kms { seed: 2 };
    let foreign = strangers.signed(&stated(strangers, &gateway, b"its agent", 3600));
    let foreign = judge(shown(&gateway, BOUND, |it| it.release = foreign), gateway.app_id());
    assert!(matches!(foreign, Err(GatewayRefusal::Released(ReleasedRefusal::Release(_)))));
    let late =
        judge_gateway(shown(&gateway, BOUND, |_| {}), BOUND, gateway.app_id(), &rules(), u64::MAX);
    assert!(matches!(late, Err(GatewayRefusal::Released(ReleasedRefusal::Release(_)))));
}
