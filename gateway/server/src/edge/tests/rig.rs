//! An edge, its apps and its clients, all on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use gateway_rules::guests::Guests;
use gateway_rules::names::DomainName;
use protocol::app_compose::PortPolicy;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::edge::{Edge, Settings};
use crate::fixtures::{Loopback, Place, Records};

/// The base domain of the tests.
pub const BASE: &str = "apps.example";

/// An edge that serves.
pub struct Rig {
    pub edge: Arc<Edge<Loopback, Records>>,
    pub address: SocketAddr,
    pub guests: Arc<Mutex<Guests>>,
    pub loopback: Loopback,
    pub records: Records,
    pub ending: watch::Sender<bool>,
    pub task: JoinHandle<()>,
    /// The certificate of the base domain.
    pub certificate: CertificateDer<'static>,
}

/// A certificate for names, and its key.
pub fn certificate(names: &[&str]) -> (CertificateDer<'static>, PrivatePkcs8KeyDer<'static>) {
    let pair = KeyPair::generate().unwrap();
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = CertificateParams::new(names).unwrap().self_signed(&pair).unwrap();
    (made.der().clone(), pair.serialize_der().into())
}

/// Clients that trust this certificate.
pub fn roots(certificate: &CertificateDer<'static>) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    Arc::new(roots)
}

fn base() -> DomainName {
    DomainName::parse(BASE).unwrap()
}

impl Rig {
    /// An edge with settings that the test changes.
    pub async fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new(vec![base()], 1000);
        change(&mut settings);
        let (guests, loopback) = (Arc::new(Mutex::new(Guests::default())), Loopback::default());
        let records = Records::default();
        let edge = Edge::new(settings, Arc::clone(&guests), loopback.clone(), records.clone());
        let edge = edge.unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ending, told) = watch::channel(false);
        let task = tokio::spawn(Arc::clone(&edge).serve(listener, told));
        let none = CertificateDer::from(Vec::new());
        let mut rig =
            Self { edge, address, guests, loopback, records, ending, task, certificate: none };
        rig.certificate = rig.install();
        rig
    }

    /// Serves a new certificate from now on.
    pub fn install(&self) -> CertificateDer<'static> {
        let (leaf, key) = certificate(&[&format!("*.{BASE}")]);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let chain = vec![leaf.clone()];
        self.edge.certificates().install(&base(), chain, key.into(), now).unwrap();
        leaf
    }

    /// An instance of an app that has a program on its port 80 and 443.
    pub fn guest(&self, app: u8, instance: u8, place: Place) {
        self.guest_with(app, instance, place, "{}");
    }

    /// The same with a `port_policy`.
    pub fn guest_with(&self, app: u8, instance: u8, place: Place, policy: &str) {
        for port in [80, 443] {
            let port = NonZeroU16::new(port).unwrap();
            let policy = PortPolicy::parse(policy.as_bytes()).unwrap();
            self.loopback.admit(&self.guests, (app, instance), (port, place), policy);
        }
    }

    /// The name of an app with what follows its id.
    pub fn name(app: u8, suffix: &str) -> String {
        format!("{}{suffix}.{BASE}", hex::encode([app; 20]))
    }

    /// Waits until a condition holds, which takes the edge a moment.
    pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
        for _ in 0..500 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not within 5 s: {what}");
    }
}

async fn listen() -> (TcpListener, Place) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let place = Place::At(listener.local_addr().unwrap());
    (listener, place)
}

/// A program that sends back what it gets, after a mark of its own.
pub async fn echo(mark: &'static str) -> Place {
    let (listener, place) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reads, mut writes) = stream.split();
                let _ = writes.write_all(mark.as_bytes()).await;
                let _ = tokio::io::copy(&mut reads, &mut writes).await;
                let _ = writes.shutdown().await;
            });
        }
    });
    place
}

/// A program that hands its connections to the test.
pub async fn taken() -> (Place, tokio::sync::mpsc::Receiver<TcpStream>) {
    let (listener, place) = listen().await;
    let (sender, receiver) = tokio::sync::mpsc::channel(64);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if sender.send(stream).await.is_err() {
                break;
            }
        }
    });
    (place, receiver)
}

/// A program that ends TLS itself and sends back what it gets.
pub async fn secret(names: &[&str]) -> (Place, CertificateDer<'static>) {
    let (leaf, key) = certificate(names);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.clone()], key.into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (listener, place) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                let mut got = vec![0; 64];
                let count = stream.read(&mut got).await?;
                stream.write_all(&got[..count]).await?;
                stream.shutdown().await
            });
        }
    });
    (place, leaf)
}
