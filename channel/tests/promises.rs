//! What a channel promises, over real TLS on both sides; the quotes are made by the test.

#![allow(clippy::unwrap_used)] // the helpers of a test are tests too

use std::sync::Arc;
use std::time::Duration;

use channel::machine::Violation;
use channel::tls::{self, TlsKey};
use channel::{Attester, ChannelError, Judge, Party, Settings, Side, VerifiedChannel};
use channel::{accept, connect};
use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _};
use protocol::channel::{
    ALPN_KMS, Binding, Frame, Kind, OwnerProof, Proof, Refusal, RefusalCode, Role,
};
use protocol::digest::OsImageHash;
use protocol::launch::LaunchClaims;
use protocol::shape::Shape;
use rustls::NamedGroup;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

/// A platform of the test: its quote is the report data.
struct Platform {
    program: &'static str,
    owner: Option<SigningKey>,
}

impl Attester for Platform {
    async fn prove(&self, binding: &Binding) -> Result<Proof, String> {
        let report_data = binding.report_data().ok_or("no quote for this role")?;
        let shape = Shape {
            vcpus: 1,
            memory_mib: 1024,
            root_slots: 5,
            serial_ports: 1,
            qemu_version: "11.1.3".into(),
            pci_hotplug: true,
        };
        Ok(Proof {
            quote: report_data.0.to_vec(),
            event_log: Vec::new(),
            claims: LaunchClaims { os_image_hash: OsImageHash([3; 32]), shape },
            app_compose: self.program.into(),
            statement: Vec::new(),
        })
    }

    async fn sign(&self, signed: &[u8]) -> Result<OwnerProof, String> {
        let key = self.owner.as_ref().ok_or("no owner's key")?;
        let signature = key.sign(signed).to_bytes();
        Ok(OwnerProof { key: key.verifying_key().to_bytes(), signature })
    }
}

/// What the judge of the test knows of a peer.
#[derive(Debug, PartialEq, Eq)]
enum Peer {
    Program(String),
    Owner,
    Anybody,
}

/// Accepts one program, or one owner.
struct Accepts {
    program: &'static str,
    owner: Option<[u8; 32]>,
    anybody: bool,
}

impl Judge for Accepts {
    type Peer = Peer;

    async fn judge(&self, proof: Proof, binding: &Binding) -> Result<Peer, Refusal> {
        let wanted = binding.report_data().expect("a role with a quote");
        if proof.quote != wanted.0 {
            return Err(Refusal::new(RefusalCode::Evidence, "report-data"));
        }
        match String::from_utf8(proof.app_compose) {
            Ok(program) if program == self.program => Ok(Peer::Program(program)),
            _ => Err(Refusal::new(RefusalCode::Evidence, "compose-hash")),
        }
    }

    async fn judge_owner(&self, proof: OwnerProof, signed: &[u8]) -> Result<Peer, Refusal> {
        let refused = || Refusal::new(RefusalCode::Owner, "not an owner");
        let key = ed25519_dalek::VerifyingKey::from_bytes(&proof.key).map_err(|_| refused())?;
        let genuine = key.verify(signed, &Signature::from_bytes(&proof.signature)).is_ok();
        if genuine && self.owner == Some(proof.key) { Ok(Peer::Owner) } else { Err(refused()) }
    }

    fn unattested(&self) -> Result<Peer, Refusal> {
        let refused = Refusal::new(RefusalCode::Evidence, "evidence is wanted");
        if self.anybody { Ok(Peer::Anybody) } else { Err(refused) }
    }
}

type Side1 = Party<Platform, Accepts>;

fn party(own: Role, side: Side, program: &'static str, accepts: &'static str) -> Side1 {
    Party {
        settings: Settings { own, side },
        alpn: ALPN_KMS,
        key: TlsKey::generate().unwrap(),
        attester: Arc::new(Platform { program, owner: None }),
        judge: Arc::new(Accepts { program: accepts, owner: None, anybody: false }),
    }
}

fn guest() -> Side1 {
    party(Role::Agent, Side::Client { server: Role::App }, "guest", "kms")
}

fn kms() -> Side1 {
    party(Role::App, Side::Server { clients: vec![Role::Agent] }, "kms", "guest")
}

type Opened = Result<VerifiedChannel<Peer, DuplexStream>, ChannelError>;

async fn meet(client: &Side1, server: &Side1) -> (Opened, Opened) {
    let (one, other) = duplex(1 << 16);
    tokio::join!(connect(one, client), accept(other, server))
}

fn refusal(outcome: &Opened) -> RefusalCode {
    match outcome {
        Err(
            ChannelError::Refused(refusal) | ChannelError::Violation(Violation::Refused(refusal)),
        ) => refusal.code,
        other => panic!("no refusal: {other:?}"),
    }
}

#[tokio::test]
async fn two_programs_that_expect_each_other_meet_and_requests_travel() {
    let (client, server) = meet(&guest(), &kms()).await;
    let (client, server) = (client.unwrap(), server.unwrap());
    assert_eq!(client.peer(), &Peer::Program("kms".into()));
    assert_eq!(server.peer(), &Peer::Program("guest".into()));
    let ((_, mut client), (_, mut server)) = (client.into_parts(), server.into_parts());
    client.write_all(b"request").await.unwrap();
    client.flush().await.unwrap();
    let mut received = [0; 7];
    server.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"request");
    let connection = client.get_ref().1;
    let group = connection.negotiated_key_exchange_group().map(|group| group.name());
    assert_eq!(group, Some(NamedGroup::X25519MLKEM768));
    assert_eq!(connection.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    let tokio_rustls::TlsStream::Client(client) = client else { panic!("the client's end") };
    assert_eq!(client.get_ref().1.tls13_tickets_received(), 0);
}

#[tokio::test]
async fn another_program_on_either_side_is_refused_by_the_other() {
    let stranger = party(Role::Agent, Side::Client { server: Role::App }, "stranger", "kms");
    let (client, server) = meet(&stranger, &kms()).await;
    assert_eq!(
        (refusal(&client), refusal(&server)),
        (RefusalCode::Evidence, RefusalCode::Evidence)
    );
    let clients = vec![Role::Agent];
    let stranger = party(Role::App, Side::Server { clients }, "stranger", "guest");
    let (client, server) = meet(&guest(), &stranger).await;
    assert_eq!(
        (refusal(&client), refusal(&server)),
        (RefusalCode::Evidence, RefusalCode::Evidence)
    );
}

/// A proxy ends TLS on both sides with keys of its own and copies what lies inside.
#[tokio::test]
async fn evidence_relayed_to_another_connection_is_refused() {
    let (one, proxied) = duplex(1 << 16);
    let (proxy, other) = duplex(1 << 16);
    let relay = async {
        let key = TlsKey::generate().unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(tls::server(&key, ALPN_KMS).unwrap());
        let connector = tokio_rustls::TlsConnector::from(tls::client(&key, ALPN_KMS).unwrap());
        let name = rustls::pki_types::ServerName::try_from("dstyx.invalid").unwrap();
        let (accepted, connected) =
            tokio::join!(acceptor.accept(proxied), connector.connect(name, proxy));
        let (mut accepted, mut connected) = (accepted.unwrap(), connected.unwrap());
        let _ = tokio::io::copy_bidirectional(&mut accepted, &mut connected).await;
    };
    let (guest, kms) = (guest(), kms());
    let (client, server, ()) = tokio::join!(connect(one, &guest), accept(other, &kms), relay);
    assert_eq!(
        (refusal(&client), refusal(&server)),
        (RefusalCode::Evidence, RefusalCode::Evidence)
    );
}

#[tokio::test]
async fn a_role_that_the_other_side_does_not_expect_is_refused() {
    let pads = party(Role::Pads, Side::Client { server: Role::App }, "guest", "kms");
    let (client, server) = meet(&pads, &kms()).await;
    assert_eq!(refusal(&client), RefusalCode::Role);
    assert!(matches!(server, Err(ChannelError::Violation(Violation::Role { .. }))), "{server:?}");
}

#[tokio::test]
async fn a_client_without_evidence_is_served_only_where_that_is_allowed() {
    let laptop = || party(Role::Unattested, Side::Client { server: Role::App }, "", "kms");
    let public = Party {
        settings: Settings {
            own: Role::App,
            side: Side::Server { clients: vec![Role::Agent, Role::Unattested] },
        },
        judge: Arc::new(Accepts { program: "guest", owner: None, anybody: true }),
        ..kms()
    };
    let (client, server) = meet(&laptop(), &public).await;
    assert_eq!(client.unwrap().peer(), &Peer::Program("kms".into()));
    assert_eq!(server.unwrap().peer(), &Peer::Anybody);
    let (client, _) = meet(&laptop(), &kms()).await;
    assert_eq!(refusal(&client), RefusalCode::Role);
}

#[tokio::test]
async fn an_owner_is_believed_by_its_signature_over_this_connection() {
    let owner = SigningKey::from_bytes(&[7; 32]);
    let side = Side::Client { server: Role::App };
    let client = |owner: SigningKey| Party {
        attester: Arc::new(Platform { program: "", owner: Some(owner) }),
        ..party(Role::Owner, side.clone(), "", "kms")
    };
    let known = Some(owner.verifying_key().to_bytes());
    let server = Party {
        settings: Settings { own: Role::App, side: Side::Server { clients: vec![Role::Owner] } },
        judge: Arc::new(Accepts { program: "guest", owner: known, anybody: false }),
        ..kms()
    };
    let (one, other) = meet(&client(owner), &server).await;
    assert_eq!((one.is_ok(), other.unwrap().peer()), (true, &Peer::Owner));
    let (one, other) = meet(&client(SigningKey::from_bytes(&[8; 32])), &server).await;
    assert_eq!((refusal(&one), refusal(&other)), (RefusalCode::Owner, RefusalCode::Owner));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_is_given_up() {
    let (one, _silent) = duplex(1 << 16);
    let outcome = connect(one, &guest()).await;
    assert!(matches!(outcome, Err(ChannelError::Late)), "{outcome:?}");
}

/// What a peer does that speaks TLS and then breaks the protocol.
#[tokio::test]
async fn frames_out_of_order_too_large_or_unknown_end_the_connection() {
    let oversize = [2, 0xff, 0xff, 0xff, 0xff].to_vec();
    let lies: [(&str, Vec<u8>); 4] = [
        ("a verdict before the greeting", Frame::empty(Kind::Accepted).encode()),
        ("a proof before the greeting", Frame { kind: Kind::Proof, payload: vec![0] }.encode()),
        ("a payload without end", oversize),
        ("no frame", b"GET / HTTP/1.1\r\n".to_vec()),
    ];
    for (what, bytes) in lies {
        let (one, other) = duplex(1 << 16);
        let liar = async {
            let key = TlsKey::generate().unwrap();
            let config = tls::client(&key, ALPN_KMS).unwrap();
            let name = rustls::pki_types::ServerName::try_from("dstyx.invalid").unwrap();
            let connector = tokio_rustls::TlsConnector::from(config);
            let mut stream = connector.connect(name, one).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            stream.flush().await.unwrap();
            let mut answer = Vec::new();
            let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer))
                .await
                .expect("the connection ends");
        };
        let kms = kms();
        let (outcome, ()) = tokio::join!(accept(other, &kms), liar);
        let refused = matches!(
            outcome,
            Err(ChannelError::Frame(_) | ChannelError::Violation(Violation::Unexpected { .. }))
        );
        assert!(refused, "{what}: {outcome:?}");
    }
}
