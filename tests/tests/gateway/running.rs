//! A gateway on loopback: tunnels of guests, and an edge.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use agent_client::Collaterals;
use agent_client::socket::fixtures::socket_stating;
use attestation::TrustAnchor;
use attestation::policy::PlatformRules;
use gateway::edge::{Edge, Settings};
use gateway::fixtures::Records;
use gateway::guests::{self, GuestJudge, Identity, Images, Terms};
use gateway::tunnels::Tunnels;
use gateway_rules::guests::Guests;
use gateway_rules::names::{DomainName, RouteId};
use pccs::{Roots, Service};
use protocol::digest::AppId;
use protocol::prpc::ReleaseResponse;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tests::emulated::{self, Emulated};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

/// Its base domain.
const BASE: &str = "apps.example";

/// A gateway, as long as its runtime runs.
pub struct Gateway {
    /// Where guests dial.
    pub tunnels: SocketAddr,
    edge: SocketAddr,
    leaf: CertificateDer<'static>,
    guests: Arc<Mutex<Guests>>,
    _directory: TempDir,
    _ending: watch::Sender<bool>,
}

impl Gateway {
    /// In a guest of which the KMS has stated this; it knows these images.
    pub async fn start(guest: Emulated, release: String, images: &[String]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (file, stated) = (guest.file.clone(), guest.compose_hash());
        let instance = [guest.instance; 20];
        let socket = socket_stating(
            &directory.path().join("dstack.sock"),
            (&file, instance),
            stated,
            move |report_data| Some(guest.evidence(report_data)),
            move || Some(ReleaseResponse { release: release.clone(), time_secs: now_secs() }),
        );
        let service = Service::new(&emulated::pccs(None), &Roots::CompiledIn).unwrap();
        let collaterals = Arc::new(Collaterals::new(move |key| service.fetch(key)));
        let images = Images::read(images).unwrap();
        let identity = Arc::new(Identity::new(socket, collaterals, images).await.unwrap());
        let anchor = TrustAnchor::DangerEmulated(emulated::root());
        let terms = Terms { anchor, platform: PlatformRules::default(), minimum_epoch: 1 };
        let judge = Arc::new(GuestJudge::new(&identity, terms));
        let guests: Arc<Mutex<Guests>> = Arc::default();
        let tunnels = Tunnels::new(Arc::clone(&guests));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let dialled = listener.local_addr().unwrap();
        tokio::spawn(guests::serve(listener, Arc::clone(&tunnels), identity, judge));
        let base = DomainName::parse(BASE).unwrap();
        let settings = Settings::new(vec![base.clone()], 100);
        let edge = Edge::new(settings, Arc::clone(&guests), tunnels, Records::default()).unwrap();
        let (leaf, key) = certificate();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        edge.certificates().install(&base, vec![leaf.clone()], key.into(), now).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let served = listener.local_addr().unwrap();
        let (ending, told) = watch::channel(false);
        tokio::spawn(edge.serve(listener, told));
        let (_directory, _ending) = (directory, ending);
        Self { tunnels: dialled, edge: served, leaf, guests, _directory, _ending }
    }

    /// Whether an app is led to, and whether its guest says that it is ready.
    pub fn found(&self, app: AppId) -> Option<bool> {
        let guests = self.guests.lock().unwrap();
        let (_, found) = guests.find(RouteId(app.0), std::num::NonZeroU16::MIN)?;
        found.first().map(|candidate| candidate.ready)
    }

    /// What a client gets for a path of an app's port, head and body.
    pub async fn get(&self, app: AppId, port: u16, path: &str) -> std::io::Result<String> {
        let mut roots = RootCertStore::empty();
        roots.add(self.leaf.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let host = format!("{app}-{port}.{BASE}");
        let name = ServerName::try_from(host.clone()).unwrap();
        let stream = TcpStream::connect(self.edge).await?;
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn certificate() -> (CertificateDer<'static>, PrivatePkcs8KeyDer<'static>) {
    let pair = rcgen::KeyPair::generate().unwrap();
    let names = rcgen::CertificateParams::new(vec![format!("*.{BASE}")]).unwrap();
    let leaf = names.self_signed(&pair).unwrap();
    (leaf.der().clone(), pair.serialize_der().into())
}
