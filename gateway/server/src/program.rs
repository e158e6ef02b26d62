//! The gateway as a process: in which order its parts start, and how they end.
//!
//! File, agent, store, certificates of the store; then clients are taken, and threads get what is
//! missing. A gateway without any certificate serves too: passed-through connections need none.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use agent_client::{Collaterals, Socket, SocketError};
use gateway_acme::{Authority, Issuer, READ_BACK_TIMEOUT, Resolver as Https, Trust};
use gateway_domain::issuance::BaseDomain;
use gateway_domain::name::DomainName as Named;
use gateway_rules::guests::Guests;
use gateway_rules::names::DomainName;
use pccs::{INTEL_PCS, Roots, Service, ServiceError};
use protocol::digest::InstanceId;
use protocol::prpc::{self, AppInfo, Encoding};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::admin::{self, Admin};
use crate::config::{Base, Config, ConfigError, Source};
use crate::dns::{self, NoResolver, Resolver};
use crate::domains::{CertifiedBy, Domain};
use crate::edge::{Edge, Settings};
use crate::guest_terms::{self, TermsError};
use crate::guests::{self, GuestJudge, Identity, IdentityError, Images};
use crate::issuance::{
    Certifier, GuestAttest, Keeper, LocalAuthorityError, Order, local_authority,
};
use crate::monitoring::{self, Monitoring};
use crate::own_pages::Own;
use crate::store::{Store, StoreError, StoreKey};
use crate::tunnels::Tunnels;
use crate::zones::{self, ZoneError};

/// The path of the key under which the store is sealed. Another one would be another store.
const STORE_KEY_PATH: &str = "dstyx-gateway/store";
/// What the signature of that key says that it is for.
const STORE_KEY_PURPOSE: &str = "dstyx-gateway-store";
/// What a local authority is called where authorities have a name in CAA records; no zone has it.
const LOCAL_ISSUER: &str = "danger-local-ca.invalid";

/// Descriptors that are no client's: the store, tunnels, calls of owners, requests to authorities.
const RESERVED: u64 = 512;
/// Connections at a time where nothing is asked for: each may hold 32 KiB.
const USUAL_CONNECTIONS: u32 = 50_000;

/// Why the gateway cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// the file
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// the guest's agent
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// a guest without an instance id
    #[error("the guest has no instance id, by which its store is sealed")]
    NoInstance,
    /// what is stored
    #[error(transparent)]
    Store(#[from] StoreError),
    /// a local authority
    #[error(transparent)]
    Local(#[from] LocalAuthorityError),
    /// a zone
    #[error("{base}: {source}")]
    Zone {
        /// The base domain.
        base: DomainName,
        /// Why not.
        source: ZoneError,
    },
    /// the collateral service
    #[error("the collateral service")]
    Collateral(#[from] ServiceError),
    /// the resolver of others' records
    #[error(transparent)]
    Resolver(#[from] NoResolver),
    /// what is asked of guests
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// how this gateway proves itself to them
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// TLS
    #[error("TLS")]
    Tls(#[from] rustls::Error),
    /// an address
    #[error("{address} cannot be listened on")]
    Port {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// more connections than descriptors
    #[error(
        "{asked} connections are asked for, and the process may have {descriptors} descriptors, of \
         which {RESERVED} are for other things"
    )]
    Descriptors {
        /// In the file.
        asked: u32,
        /// The process's limit.
        descriptors: u64,
    },
    /// a thread
    #[error("a thread cannot be started")]
    Thread(#[source] io::Error),
    /// signals
    #[error("signals cannot be received")]
    Signals(#[source] io::Error),
}

impl StartError {
    /// What to try.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Config(error) => error.hint(),
            Self::Zone { source: ZoneError::Config(error), .. } => error.hint(),
            Self::Zone { .. } => "is the provider's part of the file right?",
            Self::Socket(_) => {
                "does the compose file mount /var/run/dstack.sock, and has the guest keys of a KMS?"
            }
            Self::NoInstance => "leave `no_instance_id` out of the measured file",
            Self::Store(error) | Self::Local(LocalAuthorityError::Store(error)) => error.hint(),
            Self::Collateral(_) => "the address has a scheme and a host: https://pccs.example:8081",
            Self::Terms(_) => "does the compose file mount the files that `guests` names?",
            Self::Identity(IdentityError::Image { .. }) => "name an image.json as it was published",
            Self::Identity(_) => "has the gateway's guest keys of a KMS?",
            Self::Resolver(_) => "name one with `txt_resolver`",
            Self::Local(_) | Self::Tls(_) => "is this a guest with a source of randomness?",
            Self::Port { .. } => "is another program listening there?",
            Self::Descriptors { .. } => "raise `ulimits: nofile` in the compose file",
            Self::Thread(_) => "does the container limit its threads?",
            Self::Signals(_) => "is this a Linux guest?",
        }
    }
}

/// Serves as a file says, until the process is told to end; connections then have a time to end by
/// themselves.
///
/// # Errors
/// If the file is none of a gateway, or it cannot serve.
pub async fn run(file: &Path) -> Result<(), StartError> {
    // The first process of a container is deaf to signals that it does not ask for.
    let mut ends = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
    let config = Config::read(file)?;
    let (end, ending) = watch::channel(false);
    let told = async move {
        ends.recv().await;
        tracing::info!("ending: no new connections are taken");
        // Without a receiver everything has ended already.
        let _ = end.send(true);
        std::future::pending::<()>().await;
    };
    let environment = |name: &str| std::env::var(name).ok();
    tokio::select! {
        served = serve(config, &environment, ending) => served,
        () = told => Ok(()),
    }
}

/// What all base domains share.
struct Shared {
    instance: InstanceId,
    store: Arc<Mutex<Store>>,
    attest: GuestAttest,
    own: Arc<Own>,
}

async fn serve(
    config: Config,
    environment: &(dyn Fn(&str) -> Option<String> + Sync),
    ending: watch::Receiver<bool>,
) -> Result<(), StartError> {
    let guests = Arc::new(Mutex::new(Guests::default()));
    let tunnels = Tunnels::new(Arc::clone(&guests));
    let resolver = match config.txt_resolver {
        Some(address) => Resolver(address),
        None => dns::of_container()?,
    };
    let names = config.bases.iter().map(Base::routed).collect();
    let proxied = config.proxied;
    let settings = Settings { proxied, ..Settings::new(names, connections(config.connections)?) };
    let edge = Edge::new(settings, guests, Arc::clone(&tunnels), resolver)?;
    let shared = shared(&config, Arc::clone(edge.own())).await?;
    let keepers = keepers(&config, environment, &shared)?;
    keepers.iter().for_each(Keeper::restore);
    let clients = listen("clients", config.listen.clients).await?;
    serve_guests(&config, &shared, tunnels).await?;
    if let Some(address) = config.listen.metrics {
        let (listener, counted) = (listen("metrics", address).await?, Arc::clone(&edge));
        let own = Arc::clone(&shared.own);
        let monitoring = Monitoring { counters: move || counted.metrics_text(), own };
        let most = monitoring::MAX_CONNECTIONS;
        tokio::spawn(service::serve(listener, Arc::new(monitoring), most));
    }
    let orders = start(keepers)?;
    // Without calls of owners the threads still go on: their orders' senders are held here.
    let _held = orders.clone();
    if let (Some(address), Some(trust)) = (config.listen.admin, config.admin) {
        let listener = listen("admin", address).await?;
        let admin = Admin::new(trust, shared.instance, Arc::clone(&shared.own), orders);
        tokio::spawn(service::serve(listener, Arc::new(admin), admin::MAX_CONNECTIONS));
    }
    edge.serve(clients, ending).await;
    Ok(())
}

/// Takes guests that dial, where the file says which.
async fn serve_guests(
    config: &Config,
    shared: &Shared,
    tunnels: Arc<Tunnels>,
) -> Result<(), StartError> {
    let (Some(address), Some(asked)) = (config.listen.guests, &config.guests) else {
        return Ok(());
    };
    let (terms, images) = guest_terms::read(asked)?;
    let (socket, collaterals) = (shared.attest.socket.clone(), &shared.attest.collaterals);
    let images = Images::read(&images)?;
    let identity = Identity::new(socket, Arc::clone(collaterals), images).await?;
    let judge = Arc::new(GuestJudge::new(&identity, terms));
    let listener = listen("guests", address).await?;
    tokio::spawn(guests::serve(listener, tunnels, Arc::new(identity), judge));
    Ok(())
}

/// Connections at a time, which descriptors bound: one beyond them would fail at `accept`, and
/// calls of owners with it.
fn connections(asked: Option<u32>) -> Result<u32, StartError> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let descriptors = limit.unwrap_or(u64::MAX);
    let most = u32::try_from(descriptors.saturating_sub(RESERVED)).unwrap_or(u32::MAX);
    match asked {
        Some(asked) if asked > most => Err(StartError::Descriptors { asked, descriptors }),
        Some(asked) => Ok(asked),
        None => Ok(most.clamp(1, USUAL_CONNECTIONS)),
    }
}

/// Asks the agent who this is, and opens the store.
async fn shared(config: &Config, own: Arc<Own>) -> Result<Shared, StartError> {
    let socket = Socket::at(config.socket.clone());
    let info = socket.info().await?;
    let instance = instance(&info).ok_or(StartError::NoInstance)?;
    own.show_app_info(prpc::encode(&info, Encoding::Json));
    let secret = socket.key(STORE_KEY_PATH, STORE_KEY_PURPOSE).await?;
    let store = Store::open(&config.data, StoreKey::derive(&secret, &instance))?;
    own.show_evidence(store.evidence()?);
    let store = Arc::new(Mutex::new(store));
    let address = config.pccs.as_deref().unwrap_or(INTEL_PCS);
    let service = Service::new(address, &Roots::CompiledIn)?;
    let collaterals = Arc::new(Collaterals::new(move |key| service.fetch(key)));
    let attest = GuestAttest {
        socket,
        collaterals,
        store: Arc::clone(&store),
        own: Arc::clone(&own),
        runtime: Handle::current(),
    };
    Ok(Shared { instance, store, attest, own })
}

fn instance(info: &AppInfo) -> Option<InstanceId> {
    info.instance_id.as_slice().try_into().ok().map(InstanceId)
}

/// What keeps each base domain's certificate; nothing is asked yet.
fn keepers(
    config: &Config,
    environment: &dyn Fn(&str) -> Option<String>,
    shared: &Shared,
) -> Result<Vec<Keeper>, StartError> {
    let trust = match config.roots.is_empty() {
        true => Trust::CompiledIn,
        false => Trust::Only(config.roots.clone()),
    };
    let of = |base: &Base| {
        let (named, routed) = (base.name.clone(), base.routed());
        let (base, certifier, directory) = match &base.source {
            Source::Acme(acme) => {
                let base = BaseDomain::new(named, acme.issuer.clone());
                let zone = zones::zone(&acme.zone, &trust, environment);
                let zone =
                    zone.map_err(|source| StartError::Zone { base: routed.clone(), source })?;
                let authority = Authority::new(&acme.directory, &trust);
                let resolvers = config.resolvers.as_ref().expect("the file has them with acme");
                let resolvers = resolvers.each_ref().map(|url| Https::new(url, &trust));
                let issuer =
                    Issuer::new(base.clone(), authority, zone, resolvers, READ_BACK_TIMEOUT);
                let directory = acme.directory.clone();
                (base, Certifier::Authority(Box::new(issuer)), Some(directory))
            }
            Source::DangerLocal => {
                tracing::warn!("danger: {routed} is certified by a local authority: for trials");
                let issuer: Named = LOCAL_ISSUER.parse().expect("a constant name");
                let base = BaseDomain::new(named, issuer);
                let authority = local_authority(&shared.store, &base)?;
                (base, Certifier::DangerLocal(authority), None)
            }
        };
        let certified_by = match (&certifier, &directory) {
            (Certifier::DangerLocal(authority), _) => {
                CertifiedBy::DangerLocal { root_pem: authority.pem() }
            }
            (_, directory) => CertifiedBy::Authority(directory.clone().unwrap_or_default()),
        };
        shared.own.domains.add(routed.clone(), Domain::new(certified_by));
        let (store, attest, own) =
            (Arc::clone(&shared.store), shared.attest.clone(), Arc::clone(&shared.own));
        Ok(Keeper { base, routed, directory, certifier, store, attest, own, pause: Keeper::PAUSE })
    };
    config.bases.iter().map(of).collect()
}

/// Gives each its thread.
fn start(keepers: Vec<Keeper>) -> Result<BTreeMap<DomainName, Sender<Order>>, StartError> {
    let mut threads = BTreeMap::new();
    for keeper in keepers {
        let (orders, received) = channel();
        threads.insert(keeper.routed.clone(), orders);
        let named = thread::Builder::new().name("certificates".to_owned());
        named.spawn(move || keeper.run(&received)).map_err(StartError::Thread)?;
    }
    Ok(threads)
}

async fn listen(what: &str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let at = |source| StartError::Port { address, source };
    let listener = TcpListener::bind(address).await.map_err(at)?;
    tracing::info!("{what}: listening on {}", listener.local_addr().map_err(at)?);
    Ok(listener)
}
