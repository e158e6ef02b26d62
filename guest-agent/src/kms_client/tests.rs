//! The client against KMSs of the test's own on loopback: real channels, any evidence.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU32, Ordering};

use channel::machine::Violation;
use channel::{Attester, Judge};
use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use protocol::channel::{Binding, OwnerProof, Proof, Refusal as ChannelRefusal};
use protocol::fixtures;
use protocol::kms::{AnchorRequest, AnchorResponse, TimeSource};
use protocol::prpc::{Encoding, encode, encode_error};
use protocol::status::Report;
use tokio::net::TcpListener;

use super::*;
use crate::quotes::tests::desk;

/// One answer of a KMS of the test's.
#[derive(Debug, Clone, Copy)]
pub enum Say {
    /// This anchor.
    Anchor(u64),
    /// This anchor, with this release statement.
    Released(u64, &'static str),
    /// This time, in seconds since 1970.
    Time(u64),
    /// This status.
    Status(u16),
    /// Nothing: the connection ends.
    HangUp,
}

/// Proves nothing, with whatever it is asked for.
struct Anything;

impl Attester for Anything {
    async fn prove(&self, _: &Binding) -> Result<Proof, String> {
        Ok(Proof {
            quote: vec![0; 64],
            event_log: Vec::new(),
            claims: fixtures::claims(),
            app_compose: b"{}".to_vec(),
            statement: Vec::new(),
        })
    }
}

/// Accepts everybody, or nobody.
pub struct Says(Result<(), RefusalCode>);

impl Says {
    fn verdict(&self) -> Result<(), ChannelRefusal> {
        self.0.map_err(|code| ChannelRefusal::new(code, "no"))
    }
}

impl Judge for Says {
    type Peer = ();

    async fn judge(&self, proof: Proof, binding: &Binding) -> Result<(), ChannelRefusal> {
        if binding.expected == Role::App {
            // The guest's own proof: its quote is for this very connection.
            assert_eq!(proof.quote[48..], binding.report_data().unwrap().0);
        }
        self.verdict()
    }

    async fn judge_owner(&self, _: OwnerProof, _: &[u8]) -> Result<(), ChannelRefusal> {
        self.verdict()
    }

    fn unattested(&self) -> Result<(), ChannelRefusal> {
        self.verdict()
    }
}

impl JudgesKms for Says {
    async fn judge_at(&self, (): &(), now_secs: u64) -> Result<(), String> {
        if now_secs < EXPIRED_SECS { Ok(()) } else { Err("expired".to_owned()) }
    }
}

/// From this time on the evidence of every KMS of the test's has expired.
const EXPIRED_SECS: u64 = 1_800_000_000;

/// A KMS on loopback; its address, and how many channels were opened.
pub async fn kms(verdict: Result<(), RefusalCode>, script: &[Say]) -> (String, Arc<AtomicU32>) {
    kms_at(EXPIRED_SECS - 1, verdict, script).await
}

/// The same, which states this time.
async fn kms_at(
    time_secs: u64,
    verdict: Result<(), RefusalCode>,
    script: &[Say],
) -> (String, Arc<AtomicU32>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let settings = Settings { own: Role::App, side: Side::Server { clients: vec![Role::Agent] } };
    let (attester, judge) = (Arc::new(Anything), Arc::new(Says(verdict)));
    let key = TlsKey::generate().unwrap();
    let party = Party { settings, alpn: ALPN_KMS, key, attester, judge };
    let script = Arc::new(std::sync::Mutex::new(script.iter().copied().collect::<VecDeque<_>>()));
    let channels = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&channels);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(opened) = channel::accept(stream, &party).await else { continue };
            counted.fetch_add(1, Ordering::Relaxed);
            serve(opened.into_parts().1, time_secs, Arc::clone(&script)).await;
        }
    });
    (url, channels)
}

fn told(secs: u64) -> Vec<u8> {
    let rests_on = TimeSource::Machine.name().to_owned();
    let told = GetTimeResponse { time_ms: secs * 1000, rests_on, ..GetTimeResponse::default() };
    encode(&told, Encoding::Protobuf)
}

fn anchored(anchor: u64, release: &str) -> Vec<u8> {
    encode(&AnchorResponse { anchor, release: release.to_owned() }, Encoding::Protobuf)
}

/// Answers as the script says, until it says to hang up or has ended.
async fn serve<S>(stream: S, time_secs: u64, script: Arc<std::sync::Mutex<VecDeque<Say>>>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (end, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let answers = hyper::service::service_fn(move |request: hyper::Request<_>| {
        let asks_time = request.uri().path().ends_with("GetTime");
        let next = || script.lock().unwrap().pop_front().unwrap_or(Say::HangUp);
        let say = if asks_time { Say::Time(time_secs) } else { next() };
        let end = end.clone();
        async move {
            let (status, body) = match say {
                Say::Anchor(anchor) => (200, anchored(anchor, "")),
                Say::Released(anchor, release) => (200, anchored(anchor, release)),
                Say::Time(secs) => (200, told(secs)),
                Say::Status(status) => (status, encode_error("no", Encoding::Protobuf)),
                Say::HangUp => {
                    end.send(()).unwrap();
                    std::future::pending().await
                }
            };
            let answer = Response::builder().status(status).body(Full::new(Bytes::from(body)));
            Ok::<_, Infallible>(answer.unwrap())
        }
    });
    let http = hyper::server::conn::http1::Builder::new();
    tokio::select! {
        _ = http.serve_connection(TokioIo::new(stream), answers) => {}
        _ = ended.recv() => {}
    }
}

/// A client of these KMSs, and the file of its status reports.
pub fn client(
    directory: &std::path::Path,
    urls: &[String],
    verdict: Result<(), RefusalCode>,
) -> (KmsClient<Says>, std::fs::File) {
    let file = tempfile::tempfile().unwrap();
    let proof = AgentProof {
        desk: Arc::new(desk(directory)),
        claims: fixtures::claims(),
        app_compose: b"{}".to_vec().into(),
    };
    let reports = Reports::to_file(file.try_clone().unwrap());
    (KmsClient::judged_by(Voice::Agent, urls, Says(verdict), proof, reports).unwrap(), file)
}

async fn anchor(client: &KmsClient<Says>) -> Result<u64, KmsError> {
    let request = AnchorRequest { open_counter: 1, generation: 2, epoch: 0, last: false };
    let answer: AnchorResponse = client.call("Anchor", &request).await?;
    Ok(answer.anchor)
}

#[tokio::test]
async fn one_channel_serves_until_it_breaks_and_the_next_address_takes_over() {
    let directory = tempfile::tempdir().unwrap();
    let (first, opened_first) = kms(Ok(()), &[Say::Anchor(1), Say::Anchor(2), Say::HangUp]).await;
    let (second, opened_second) = kms(Ok(()), &[Say::Anchor(3), Say::Anchor(4)]).await;
    let (client, _) = client(directory.path(), &[first, second], Ok(()));
    for expected in 1..=4 {
        assert_eq!(anchor(&client).await.unwrap(), expected);
    }
    // The call whose channel broke was first made again at the first address.
    let opened = [opened_first, opened_second].map(|count| count.load(Ordering::Relaxed));
    assert_eq!(opened, [2, 1]);
}

#[tokio::test]
async fn what_the_kms_says_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let script =
        [Say::Status(SUPERSEDED_STATUS), Say::Status(403), Say::Status(503), Say::Status(503)];
    let (url, _) = kms(Ok(()), &script).await;
    let (client, _) = client(directory.path(), &[url], Ok(()));
    assert!(matches!(anchor(&client).await, Err(KmsError::Superseded(_))));
    assert!(matches!(anchor(&client).await, Err(KmsError::Refused(_))));
    assert!(matches!(anchor(&client).await, Err(KmsError::Away(_))));
}

#[tokio::test]
async fn a_verdict_of_either_side_opens_no_channel() {
    let directory = tempfile::tempdir().unwrap();
    let (url, opened) = kms(Err(RefusalCode::Evidence), &[]).await;
    let (refused, _) = client(directory.path(), &[url], Ok(()));
    assert!(matches!(anchor(&refused).await, Err(KmsError::TurnedAway(_))));
    let directory = tempfile::tempdir().unwrap();
    let (url, opened_too) = kms(Ok(()), &[Say::Anchor(1)]).await;
    let (foreign, _) = client(directory.path(), &[url], Err(RefusalCode::Evidence));
    assert!(matches!(anchor(&foreign).await, Err(KmsError::Foreign(_))));
    assert_eq!((opened.load(Ordering::Relaxed), opened_too.load(Ordering::Relaxed)), (0, 0));
}

#[tokio::test]
async fn a_kms_whose_evidence_does_not_hold_at_its_own_time_ends_the_guest_and_is_asked_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (url, opened) = kms_at(EXPIRED_SECS, Ok(()), &[Say::Anchor(1)]).await;
    let (client, _) = client(directory.path(), &[url], Ok(()));
    let request = AnchorRequest { open_counter: 1, generation: 2, epoch: 0, last: false };
    let outdated: Result<AnchorResponse, _> =
        client.wait_for(Phase::AgentStarted, "Anchor", &request).await;
    let Err(error @ KmsError::Outdated(_)) = outdated else { panic!("{outdated:?}") };
    assert_eq!(error.refusal(), Refusal::KmsOutdated);
    assert!(Report::new(Phase::KeysReleased, error.refusal()).ends_the_guest());
    assert_eq!(opened.load(Ordering::Relaxed), 1, "it was not asked again");
    // Another process of the KMS, whose collateral is current, serves.
    let directory = tempfile::tempdir().unwrap();
    let (outdated, _) = kms_at(EXPIRED_SECS, Ok(()), &[]).await;
    let (current, _) = kms(Ok(()), &[Say::Anchor(2)]).await;
    let (client, _) = self::client(directory.path(), &[outdated, current], Ok(()));
    assert_eq!(anchor(&client).await.unwrap(), 2);
}

#[tokio::test]
async fn a_kms_that_is_away_is_waited_for_and_reported_once() {
    let directory = tempfile::tempdir().unwrap();
    let script = [Say::Status(503), Say::Status(503), Say::Status(503), Say::Anchor(7)];
    let (url, _) = kms(Ok(()), &script).await;
    let nobody = "https://127.0.0.1:1".to_owned();
    let (client, file) = client(directory.path(), &[nobody, url], Ok(()));
    let request = AnchorRequest { open_counter: 1, generation: 2, epoch: 0, last: false };
    let answer: AnchorResponse =
        client.wait_for(Phase::AgentStarted, "Anchor", &request).await.unwrap();
    assert_eq!(answer.anchor, 7);
    let mut report = [0; Report::BYTES];
    file.read_exact_at(&mut report, 0).unwrap();
    let told = Report::from_bytes(report).unwrap();
    assert_eq!((told.phase, told.refusal), (Phase::AgentStarted, Refusal::KmsAway));
    assert_eq!(file.metadata().unwrap().len(), Report::BYTES as u64, "told once");
}

#[tokio::test]
async fn without_an_address_there_is_nobody_to_ask() {
    let directory = tempfile::tempdir().unwrap();
    let (client, _) = client(directory.path(), &["http://10.0.2.2".to_owned()], Ok(()));
    assert!(matches!(anchor(&client).await, Err(KmsError::NoAddress)));
}

#[test]
fn only_a_verdict_ends_the_guest_and_everything_else_is_waited_for() {
    let told = |code| {
        let refusal = ChannelRefusal::new(code, "no");
        KmsError::of_channel(ChannelError::Violation(Violation::Refused(refusal))).refusal()
    };
    assert_eq!(told(RefusalCode::Evidence), Refusal::KmsRefused);
    assert_eq!(told(RefusalCode::Unavailable), Refusal::KmsAway);
    let ours = ChannelRefusal::new(RefusalCode::Evidence, "another cluster");
    let foreign = KmsError::of_channel(ChannelError::Refused(ours));
    assert_eq!(foreign.refusal(), Refusal::KmsForeign);
    assert!(Round::of(foreign).may_pass(Duration::MAX));
    assert_eq!(KmsError::of_channel(ChannelError::Late).refusal(), Refusal::KmsAway);
    let answered =
        |status| KmsError::of_call(CallError::Refused { status, text: "no".into() }).refusal();
    assert_eq!(answered(SUPERSEDED_STATUS), Refusal::Superseded);
    assert_eq!(answered(HELD_STATUS), Refusal::DiskHeld);
    assert!(round([KmsError::Held("h".into()), away()]).may_pass(Duration::MAX));
    assert_eq!(answered(403), Refusal::KmsRefused);
    assert_eq!(answered(503), Refusal::KmsAway);
    assert_eq!(KmsError::of_call(CallError::Late).refusal(), Refusal::KmsAway);
}

#[test]
fn of_several_addresses_the_one_that_knows_most_speaks() {
    let refused = round([KmsError::Refused("r".into()), away()]);
    assert!(matches!(refused.error, KmsError::Refused(_)));
    let foreign = round([away(), KmsError::Foreign("f".into())]);
    assert!(matches!(foreign.error, KmsError::Foreign(_)));
    let strangers = [KmsError::Foreign("f".into()), KmsError::TurnedAway("t".into())];
    assert!(matches!(round(strangers).error, KmsError::TurnedAway(_)));
}

fn away() -> KmsError {
    KmsError::Away("a".into())
}

fn round<const N: usize>(errors: [KmsError; N]) -> Round {
    let mut round = Round::default();
    errors.into_iter().for_each(|error| round.add(error));
    round
}

#[test]
fn a_stranger_ends_no_guest_whose_kms_may_be_the_address_that_is_silent() {
    let turned_away = || KmsError::TurnedAway("no".into());
    let none = Duration::ZERO;
    for others in [round([away(), turned_away()]), round([turned_away(), away()])] {
        assert!(others.may_pass(none) && !others.may_pass(SILENCE_GRACE));
        assert_eq!(others.waits_for(), Refusal::KmsAway);
    }
    assert!(!round([turned_away()]).may_pass(none));
    assert!(!round([turned_away(), KmsError::Foreign("f".into())]).may_pass(none));
    // A word of the KMS itself, which proved what it is, counts at once.
    assert!(!round([away(), KmsError::Refused("no".into())]).may_pass(none));
    assert!(!round([away(), KmsError::Superseded("no".into())]).may_pass(none));
}

/// The host sends the second connection elsewhere: it is judged as the first one was.
#[tokio::test]
async fn a_second_connection_elsewhere_carries_no_request() {
    let directory = tempfile::tempdir().unwrap();
    let (genuine, _) = kms(Ok(()), &[Say::Anchor(1), Say::HangUp]).await;
    let (stranger, opened) = kms(Ok(()), &[Say::Anchor(u64::MAX)]).await;
    let host = Arc::new(std::sync::Mutex::new(VecDeque::from([genuine])));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut guest, _) = listener.accept().await.unwrap();
            let to = host.lock().unwrap().pop_front().unwrap_or_else(|| stranger.clone());
            tokio::spawn(async move {
                let to = to.strip_prefix("https://").unwrap();
                let mut kms = tokio::net::TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut guest, &mut kms).await;
            });
        }
    });
    let proof = AgentProof {
        desk: Arc::new(desk(directory.path())),
        claims: fixtures::claims(),
        app_compose: b"{}".to_vec().into(),
    };
    let reports = Reports::to_file(tempfile::tempfile().unwrap());
    let judge = FirstOnly(AtomicU32::new(0));
    let client = KmsClient::judged_by(Voice::Agent, &[url], judge, proof, reports).unwrap();
    let request = AnchorRequest { open_counter: 1, generation: 2, epoch: 0, last: false };
    let first: AnchorResponse = client.call("Anchor", &request).await.unwrap();
    assert_eq!(first.anchor, 1);
    let second: Result<AnchorResponse, _> = client.call("Anchor", &request).await;
    assert!(matches!(second, Err(KmsError::Foreign(_))), "{second:?}");
    assert_eq!(opened.load(Ordering::Relaxed), 0, "a stranger got a channel");
}

/// Judges every proof, and takes the first for the KMS's.
struct FirstOnly(AtomicU32);

impl JudgesKms for FirstOnly {
    async fn judge_at(&self, (): &(), _: u64) -> Result<(), String> {
        Ok(())
    }
}

impl Judge for FirstOnly {
    type Peer = ();

    async fn judge(&self, _: Proof, _: &Binding) -> Result<(), ChannelRefusal> {
        match self.0.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err(ChannelRefusal::new(RefusalCode::Evidence, "another cluster")),
        }
    }

    async fn judge_owner(&self, _: OwnerProof, _: &[u8]) -> Result<(), ChannelRefusal> {
        Err(ChannelRefusal::new(RefusalCode::Role, "no"))
    }

    fn unattested(&self) -> Result<(), ChannelRefusal> {
        Err(ChannelRefusal::new(RefusalCode::Role, "no"))
    }
}
