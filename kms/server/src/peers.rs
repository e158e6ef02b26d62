//! Channels to the other processes of this KMS: a task for each address, which says what this
//! process has to say there, and joins it to the members if it is none.
//!
//! Addresses are hints of the measured file, and whatever answers there proves itself as the judge
//! wants it. A call that takes too long ends its connection, and another one is opened.

use std::sync::Arc;
use std::time::Duration;

use channel::calls::{CallError, Caller};
use channel::{ChannelError, Party, Settings, Side, TlsKey};
use kms_rules::consensus::{HEARTBEAT_MS, Question};
use kms_rules::state::Phase;
use protocol::channel::{ALPN_KMS, Role};
use protocol::digest::Ed25519Key;
use protocol::error::chain;
use protocol::kms::{
    Address, AdmitRequest, AppendResponse, GetKmsKeyRequest, ImagesResponse, KmsKeyResponse,
    KmsService, LedgerRequest, LedgerResponse, MemberHead, ProposeRequest, ProposeResponse,
    RootCertificate, VoteResponse,
};
use protocol::prpc::{Empty, Message};
use tokio::net::TcpStream;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::attester::GuestAttester;
use crate::judge::{GuestJudge, Peer, Process};
use crate::member::{Member, MemberError, Proposal};

/// How often time passes for members.
const TICK: Duration = Duration::from_millis(50);
/// How long a TCP connection may take to come.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a member may take to answer another one: a decision waits for it.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How long it may take where a majority must agree, or much is read.
const LONG_ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long a process waits before it tries an address, or to join, again.
const AGAIN: Duration = Duration::from_millis(1000);
/// How long it leaves an address alone that is its own.
const OWN_AGAIN: Duration = Duration::from_secs(60);
/// How often a member is asked how its ledger ends, for owners.
const HEADS_EVERY: Duration = Duration::from_secs(5);
/// How often images are asked for that owners put elsewhere.
const IMAGES_EVERY: Duration = Duration::from_secs(60);

/// Why a conversation with another process ended.
#[derive(Debug, thiserror::Error)]
enum TalkError {
    /// the TCP connection
    #[error("the connection")]
    Connect(#[from] std::io::Error),
    /// the channel
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// a call
    #[error(transparent)]
    Call(#[from] CallError),
    /// this process
    #[error(transparent)]
    Member(#[from] MemberError),
    /// a thread that was lost
    #[error("a thread was lost")]
    Lost(#[from] JoinError),
    /// something that is no process of this KMS
    #[error("it is no process of this KMS")]
    Other,
    /// this process itself
    #[error("it is this process")]
    Own,
    /// a member without the root
    #[error("it does not have the certified root")]
    Rootless,
    /// time is up
    #[error("it does not answer in time")]
    Late,
    /// a new root
    #[error("the root is here now, and is proved on a new channel")]
    Renewed,
}

/// How this process proves itself and judges others.
pub type Ends = (Arc<GuestAttester<Member>>, Arc<GuestJudge<Member>>);

/// Talks to the processes at these addresses until its task is ended.
pub async fn talk(addresses: Vec<Address>, key: TlsKey, ends: Ends, member: Arc<Member>) {
    if addresses.is_empty() {
        return std::future::pending().await; // a KMS that is alone has nobody to talk to
    }
    let (attester, judge) = ends;
    let settings = Settings { own: Role::App, side: Side::Client { server: Role::App } };
    let party = Arc::new(Party { settings, alpn: ALPN_KMS, key, attester, judge });
    for address in addresses {
        let (party, member) = (Arc::clone(&party), Arc::clone(&member));
        tokio::spawn(async move { Peers { address, party, member }.talk().await });
    }
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let member = Arc::clone(&member);
        // It may wait for the disk.
        if let Ok(Err(error)) = spawn_blocking(move || member.tick()).await {
            tracing::debug!("members: {error}");
        }
    }
}

/// One address.
struct Peers {
    address: Address,
    party: Arc<Party<GuestAttester<Member>, GuestJudge<Member>>>,
    member: Arc<Member>,
}

/// A channel that is open.
struct Line {
    key: Ed25519Key,
    process: Process,
    caller: Caller<Peer>,
    member: Arc<Member>,
}

impl Peers {
    async fn talk(self) {
        let mut last = String::new();
        loop {
            let ended = match self.open().await {
                Ok(line) => line.talk().await,
                Err(error) => Err(error),
            };
            let Err(error) = ended else { continue };
            let text = chain(&error);
            if text != last {
                tracing::info!("the process at {}: {text}", self.address);
            }
            last = text;
            sleep(if matches!(error, TalkError::Own) { OWN_AGAIN } else { AGAIN }).await;
        }
    }

    async fn open(&self) -> Result<Line, TalkError> {
        let stream = timeout(CONNECT_WITHIN, TcpStream::connect(self.address.host_and_port()));
        let stream = stream.await.map_err(|_| TalkError::Late)??;
        // Frames are written whole: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let caller = Caller::over(channel::connect(stream, &self.party).await?).await?;
        let Peer::Process(process) = caller.peer() else { return Err(TalkError::Other) };
        let process = Process::clone(process);
        if process.key == self.member.key() {
            return Err(TalkError::Own);
        }
        Ok(Line { key: process.key, process, caller, member: Arc::clone(&self.member) })
    }
}

impl Line {
    /// Never ends well: the connection breaks sooner or later.
    async fn talk(mut self) -> Result<(), TalkError> {
        let (mut proposals, mut changes) = self.member.reaches(self.key);
        let [mut joins, mut images, mut heads, mut roots] = [Instant::now(); 4];
        loop {
            changes.borrow_and_update();
            if Instant::now() >= joins && self.member.phase() != Phase::Serving {
                self.join().await?;
                joins = Instant::now() + AGAIN;
            }
            if Instant::now() >= images && self.member.phase() == Phase::Serving {
                self.take_images().await?;
                images = Instant::now() + IMAGES_EVERY;
            }
            if Instant::now() >= heads && self.member.phase() == Phase::Serving {
                self.take_head().await?;
                heads = Instant::now() + HEADS_EVERY;
            }
            if Instant::now() >= roots
                && let Some(epoch) = self.member.lacks_root_of()
            {
                // Most likely the other end does not have it either.
                self.take_root_of(epoch).await?;
                roots = Instant::now() + AGAIN;
            }
            self.ask().await?;
            let (member, key) = (Arc::clone(&self.member), self.key);
            if spawn_blocking(move || member.is_behind(&key)).await?? {
                // What is agreed, a process says that proved the root; a new channel may show it.
                self.process.root.as_ref().ok_or(TalkError::Rootless)?;
                self.catch_up().await?;
            }
            tokio::select! {
                biased;
                Some(proposal) = proposals.recv() => self.propose(proposal).await?,
                // Its sender lives as long as this process.
                _ = changes.changed() => {}
                () = sleep(Duration::from_millis(HEARTBEAT_MS)) => {}
            }
        }
    }

    /// What an election or a leader has to ask.
    async fn ask(&mut self) -> Result<(), TalkError> {
        let (member, key) = (Arc::clone(&self.member), self.key);
        let asked = Arc::clone(&member);
        match spawn_blocking(move || asked.question(&key)).await?? {
            None => Ok(()),
            Some(Question::Append(asked)) => {
                let answer: AppendResponse = self.call("Append", &asked, ANSWER_WITHIN).await?;
                Ok(spawn_blocking(move || member.appended(&key, &asked, &answer)).await??)
            }
            Some(Question::Vote(asked)) => {
                let answer: VoteResponse = self.call("Vote", &asked, ANSWER_WITHIN).await?;
                Ok(spawn_blocking(move || member.voted(&key, &asked, &answer)).await??)
            }
        }
    }

    async fn propose(&mut self, proposal: Proposal) -> Result<(), TalkError> {
        let Proposal { line, taken } = proposal;
        let request = ProposeRequest { line };
        let answer: ProposeResponse = self.call("Propose", &request, ANSWER_WITHIN).await?;
        // The call may wait no longer.
        let _ = taken.send(answer.taken);
        Ok(())
    }

    /// Makes this process a member: root, ledger and a vote, in this order.
    async fn join(&mut self) -> Result<(), TalkError> {
        let certified = self.process.root.clone().ok_or(TalkError::Rootless)?;
        if self.member.root_epoch() < certified.epoch {
            self.take_root(certified).await?;
            // The certificate is one of the entries, and so is the list, behind which other
            // processes are judged by images that are here.
            self.catch_up().await?;
            self.take_images().await?;
            return Err(TalkError::Renewed);
        }
        self.catch_up().await?;
        self.take_images().await?;
        let platform = self.process.facts.platform_ids.first();
        let platform_id = platform.map(|id| id.0.to_vec()).unwrap_or_default();
        let asked = AdmitRequest { platform_id };
        let _: Empty = self.call("Admit", &asked, LONG_ANSWER_WITHIN).await?;
        self.catch_up().await
    }

    /// Takes the newest root of the other end, as it proved it.
    async fn take_root(&mut self, certified: RootCertificate) -> Result<(), TalkError> {
        let asked = GetKmsKeyRequest::default();
        let answer: KmsKeyResponse = self.call("GetKmsKey", &asked, LONG_ANSWER_WITHIN).await?;
        let member = Arc::clone(&self.member);
        Ok(spawn_blocking(move || member.take_root(answer, &certified)).await??)
    }

    /// Takes the root of the epoch that the ledger has as offered, if it is there.
    async fn take_root_of(&mut self, epoch: u32) -> Result<bool, TalkError> {
        let asked = GetKmsKeyRequest { epoch, ..GetKmsKeyRequest::default() };
        let answer: KmsKeyResponse = match self.call("GetKmsKey", &asked, ANSWER_WITHIN).await {
            Err(TalkError::Call(CallError::Refused { .. })) => return Ok(false),
            answer => answer?,
        };
        let member = Arc::clone(&self.member);
        spawn_blocking(move || member.take_offered(answer)).await??;
        Ok(true)
    }

    /// Takes a root of which the other end has the certificate in its ledger, or a newer one.
    async fn take_missed_root(&mut self, epoch: u32) -> Result<(), TalkError> {
        if self.take_root_of(epoch).await? {
            return Ok(());
        }
        // A later one is the newest there, which a new channel proves; or this process is no
        // member.
        let newest = self.process.root.clone().filter(|root| root.epoch >= epoch);
        self.take_root(newest.ok_or(TalkError::Renewed)?).await
    }

    /// Fetches agreed entries that are missing here.
    async fn catch_up(&mut self) -> Result<(), TalkError> {
        loop {
            let member = Arc::clone(&self.member);
            let from = spawn_blocking(move || member.entries()).await??;
            let asked = LedgerRequest { from };
            let LedgerResponse { entries, total } =
                self.call("Ledger", &asked, LONG_ANSWER_WITHIN).await?;
            let (member, last) = (Arc::clone(&self.member), from + entries.len() as u64);
            if entries.is_empty() {
                return Ok(());
            }
            match spawn_blocking(move || member.install(&entries)).await? {
                Err(MemberError::Rootless(epoch)) => self.take_missed_root(epoch).await?,
                installed => {
                    installed?;
                    if last >= total {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn take_images(&mut self) -> Result<(), TalkError> {
        let answer: ImagesResponse = self.call("Images", &Empty {}, LONG_ANSWER_WITHIN).await?;
        let member = Arc::clone(&self.member);
        Ok(spawn_blocking(move || member.take_images(&answer.images)).await??)
    }

    async fn take_head(&mut self) -> Result<(), TalkError> {
        let head: MemberHead = self.call("Head", &Empty {}, ANSWER_WITHIN).await?;
        let (member, key) = (Arc::clone(&self.member), self.key);
        Ok(spawn_blocking(move || member.take_head(&key, head)).await??)
    }

    async fn call<A: Message, R: Message>(
        &mut self,
        method: &'static str,
        arguments: &A,
        within: Duration,
    ) -> Result<R, TalkError> {
        let call = self.caller.call(KmsService::Member, method, arguments);
        Ok(timeout(within, call).await.map_err(|_| TalkError::Late)??)
    }
}
