//! The owners' port on loopback, with software registers: who gets a channel, and what it shows.

use channel::calls::Caller;
use channel::{Attester, ChannelError, connect};
use containers::app::{App, Failure, FailureKind};
use ed25519_dalek::{Signer as _, SigningKey};
use protocol::app_status::{AppStatus, Document as _};
use protocol::fixtures;
use tokio::net::TcpStream;

use super::*;
use crate::api::Api;
use crate::boot::tests::boot;
use crate::http::Port;
use crate::reports::Reports;

/// What the app died of; a host learns no more than its code.
const WHY: &str = "no image at private.example";

/// A guest whose measured file names the owner of seed 1.
struct Guest {
    address: std::net::SocketAddr,
    _directory: tempfile::TempDir,
}

async fn guest() -> Guest {
    let directory = tempfile::tempdir().unwrap();
    let owner = hex::encode(key(1).verifying_key().to_bytes());
    let named = format!(r#"{{"owners":["{owner}"],"#);
    let boot = boot(directory.path(), |file| file.replacen('{', &named, 1));
    let reports = Reports::to_file(tempfile::tempfile().unwrap());
    let desk = Arc::new(QuoteDesk::new(Arc::clone(&boot.log), reports));
    let api = Arc::new(Api::new(&boot, Arc::clone(&desk)));
    let app = App::failed(Failure { kind: FailureKind::Compose, message: WHY.into() });
    let seen = as_seen_by_owners(&boot);
    let port = Port::new(&seen, Arc::clone(&desk), api, app, directory.path().to_owned());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let owners = OwnerPort { listener, key: TlsKey::generate().unwrap() };
    tokio::spawn(owners.serve(&boot, desk, Arc::new(port)));
    Guest { address, _directory: directory }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// A client that shows one key and signs with another; or says that it is a guest.
struct Client {
    named: SigningKey,
    signs: SigningKey,
}

impl Client {
    fn of(seed: u8) -> Self {
        Self { named: key(seed), signs: key(seed) }
    }
}

impl Attester for Client {
    async fn prove(&self, _: &Binding) -> Result<Proof, String> {
        Ok(Proof {
            quote: vec![0; 64],
            event_log: Vec::new(),
            claims: fixtures::claims(),
            app_compose: b"{}".to_vec(),
            statement: Vec::new(),
        })
    }

    async fn sign(&self, signed: &[u8]) -> Result<OwnerProof, String> {
        let signature = self.signs.sign(signed).to_bytes();
        Ok(OwnerProof { key: self.named.verifying_key().to_bytes(), signature })
    }
}

/// Looks at what the guest's quote is for.
struct ForThisConnection;

impl Judge for ForThisConnection {
    type Peer = ();

    async fn judge(&self, proof: Proof, binding: &Binding) -> Result<(), Refusal> {
        assert_eq!(proof.quote[48..], binding.report_data().unwrap().0);
        assert!(proof.app_compose.starts_with(br#"{"owners":"#));
        Ok(())
    }

    async fn judge_owner(&self, _: OwnerProof, _: &[u8]) -> Result<(), Refusal> {
        unreachable!("a guest has evidence")
    }

    fn unattested(&self) -> Result<(), Refusal> {
        unreachable!("a guest has evidence")
    }
}

async fn open(guest: &Guest, own: Role, client: Client) -> Result<Caller<()>, ChannelError> {
    let party = Party {
        settings: Settings { own, side: Side::Client { server: Role::Agent } },
        alpn: ALPN_OWNER,
        key: TlsKey::generate().unwrap(),
        attester: Arc::new(client),
        judge: Arc::new(ForThisConnection),
    };
    let stream = TcpStream::connect(guest.address).await.unwrap();
    let channel = connect(stream, &party).await?;
    Ok(Caller::over(channel).await.unwrap())
}

async fn get(caller: &mut Caller<()>, target: &str) -> (u16, String) {
    let mut answer = caller.get(target).await.unwrap();
    let mut body = Vec::new();
    while let Some(piece) = answer.next().await.unwrap() {
        body.extend(piece);
    }
    (answer.status(), String::from_utf8(body).unwrap())
}

#[tokio::test]
async fn an_owner_reads_what_the_app_does_not_publish() {
    let guest = guest().await;
    let mut caller = open(&guest, Role::Owner, Client::of(1)).await.unwrap();
    let (status, body) = get(&mut caller, "/ps").await;
    assert_eq!(status, 200, "{body}");
    let told = AppStatus::parse(body.as_bytes()).unwrap().message;
    assert_eq!(told.as_deref(), Some(WHY), "why an image could not be had");
    // All on one channel; there is no such container, which only who may read logs is told.
    for (target, expected) in
        [("/stats", 200), ("/events", 200), ("/logs/web?text&bare", 404), ("/elsewhere", 404)]
    {
        let (status, body) = get(&mut caller, target).await;
        assert_eq!(status, expected, "{target}: {body}");
    }
}

#[tokio::test]
async fn nobody_but_an_owner_gets_a_channel() {
    let guest = guest().await;
    let forged = || Client { named: key(1), signs: key(2) };
    let rows = [
        ("a stranger's key", Role::Owner, Client::of(2), "not one of the owners"),
        ("an owner's key without its signature", Role::Owner, forged(), "not this owner's"),
        ("no key", Role::Unattested, Client::of(1), "Role"),
        ("evidence", Role::Agent, Client::of(1), "Role"),
        ("a container's evidence", Role::App, Client::of(1), "Role"),
    ];
    for (what, own, client, expected) in rows {
        let error = open(&guest, own, client).await.err().unwrap_or_else(|| panic!("{what}"));
        let told = protocol::error::chain(&error);
        assert!(told.contains(expected), "{what}: {told}");
    }
    // They cost no place.
    open(&guest, Role::Owner, Client::of(1)).await.unwrap();
}

#[tokio::test]
async fn without_owners_the_port_stays_closed() {
    let directory = tempfile::tempdir().unwrap();
    let boot = boot(directory.path(), |file| file);
    assert!(OwnerPort::open(&boot.app).await.unwrap().is_none());
}
