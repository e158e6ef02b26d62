//! Calls to the KMS that the measured file pins, over an attested channel.
//!
//! Addresses are hints of the host: whatever answers there must prove, on that very connection,
//! that it is the pinned KMS, and gets this guest's evidence only over a quote that is bound to the
//! connection. One connection is kept and opened anew when it broke, at the next address if need
//! be. On each it first says what time it has, and its own evidence must hold at that time too:
//! this guest's clock is its host's. A KMS that is away is waited for where a boot cannot go on
//! without it, and said to be away on the status channel.

use std::sync::Arc;
use std::time::Duration;

use channel::calls::{CallError, Caller};
use channel::{ChannelError, Judge, Party, Settings, Side, TlsKey};
use protocol::channel::{ALPN_KMS, RefusalCode, Role};
use protocol::error::chain;
use protocol::kms::{
    Address, GetTimeRequest, GetTimeResponse, HELD_STATUS, KmsService, QUOTA_STATUS,
    SUPERSEDED_STATUS,
};
use protocol::prpc::Message;
use protocol::status::{Phase, Refusal};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::reports::Reports;
mod peers;

pub use peers::{AgentProof, PinnedKms, trust_anchor};

/// How long a TCP connection may take to come: a host that drops packets costs this much an
/// address.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// First wait while no KMS answers; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longest wait: a KMS that is back is found within half a minute.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long a refusal by something that has proved nothing does not count while another address is
/// silent: as long as the guest of a KMS takes to boot.
const SILENCE_GRACE: Duration = Duration::from_secs(180);

/// Why a call to the KMS has no answer.
#[derive(Debug, thiserror::Error)]
pub enum KmsError {
    /// nobody to ask
    #[error("the launch block names no address of a KMS that can be understood")]
    NoAddress,
    /// no address answers, or the KMS cannot answer now
    #[error("no KMS answers: {0}")]
    Away(String),
    /// something that is not the pinned KMS answers
    #[error("no address is proved to be the pinned KMS: {0}")]
    Foreign(String),
    /// the KMS does not give this guest what it asks for
    #[error("the KMS refuses this guest: {0}")]
    Refused(String),
    /// what answers refuses this guest before it proves what it is
    #[error("what answers at the KMS's address refuses this guest: {0}")]
    TurnedAway(String),
    /// a quota of Pads has no use left
    #[error("a quota has no use left: {0}")]
    UsedUp(String),
    /// a later boot of this instance has opened its disk
    #[error("the KMS says that a later boot of this instance has opened its disk: {0}")]
    Superseded(String),
    /// an earlier guest of this instance may still use its disk
    #[error("the KMS does not let the disk be opened yet: {0}")]
    Held(String),
    /// a KMS that is outdated by its own word
    #[error("at the time that the KMS states, its own evidence does not hold: {0}")]
    Outdated(String),
    /// this guest has no quote
    #[error("this guest cannot prove itself to a KMS: {0}")]
    NoProof(String),
    /// the process's own set-up
    #[error("a key for channels: {0}")]
    Setup(#[from] channel::tls::TlsError),
}

impl KmsError {
    /// The code for the status disk.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::NoAddress | Self::Away(_) => Refusal::KmsAway,
            Self::Foreign(_) => Refusal::KmsForeign,
            Self::Refused(_) | Self::TurnedAway(_) | Self::UsedUp(_) => Refusal::KmsRefused,
            Self::Superseded(_) => Refusal::Superseded,
            Self::Held(_) => Refusal::DiskHeld,
            Self::Outdated(_) => Refusal::KmsOutdated,
            Self::NoProof(_) => Refusal::QuoteFailed,
            Self::Setup(_) => Refusal::Internal,
        }
    }

    /// Why one address gives no channel.
    fn of_channel(error: ChannelError) -> Self {
        use channel::machine::Violation;
        match error {
            ChannelError::Violation(Violation::Refused(refusal)) => match refusal.code {
                // The guest proves itself first.
                RefusalCode::Evidence => Self::TurnedAway(refusal.text),
                _ => Self::Away(refusal.text),
            },
            ChannelError::Refused(refusal) => Self::Foreign(refusal.text),
            ChannelError::NoProof(reason) => Self::NoProof(reason),
            other => Self::Away(chain(&other)),
        }
    }

    /// Why one call has no answer.
    fn of_call(error: CallError) -> Self {
        match error {
            CallError::Refused { status: SUPERSEDED_STATUS, text } => Self::Superseded(text),
            CallError::Refused { status: HELD_STATUS, text } => Self::Held(text),
            CallError::Refused { status: QUOTA_STATUS, text } => Self::UsedUp(text),
            CallError::Refused { status: 400..=499, text } => Self::Refused(text),
            other => Self::Away(chain(&other)),
        }
    }
}

/// Judges a KMS: by this guest's clock before its first call, and once more at the KMS's own time.
pub trait JudgesKms: Judge {
    /// Whether what was proved holds at a time that the KMS states, in seconds since 1970, too.
    fn judge_at(
        &self,
        proved: &Self::Peer,
        now_secs: u64,
    ) -> impl Future<Output = Result<(), String>> + Send;
}

/// In whose name a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// The agent, for the guest.
    Agent,
    /// The middleware of Pads, for runs.
    Pads,
}

impl Voice {
    fn role(self) -> Role {
        match self {
            Self::Agent => Role::Agent,
            Self::Pads => Role::Pads,
        }
    }

    fn service(self) -> KmsService {
        match self {
            Self::Agent => KmsService::Guest,
            Self::Pads => KmsService::Middleware,
        }
    }
}

/// The KMS, as this guest reaches it; what it must be, `J` judges.
pub struct KmsClient<J: JudgesKms = PinnedKms> {
    voice: Voice,
    addresses: Vec<Address>,
    party: Party<AgentProof, J>,
    caller: Mutex<Option<Caller<J::Peer>>>,
    reports: Reports,
}

impl<J: JudgesKms> std::fmt::Debug for KmsClient<J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KmsClient").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl KmsClient {
    /// A client without a connection, for this KMS; hints that are no addresses are left out.
    ///
    /// # Errors
    /// If the system gives no randomness for a key.
    pub fn new(
        voice: Voice,
        urls: &[String],
        pinned: PinnedKms,
        proof: AgentProof,
        reports: Reports,
    ) -> Result<Self, KmsError> {
        Self::judged_by(voice, urls, pinned, proof, reports)
    }

    /// The key that this process shows on its channels; the KMS states its hash.
    pub fn key(&self) -> TlsKey {
        self.party.key.clone()
    }

    /// The time in seconds since 1970: this guest's clock, never before a time that the KMS had.
    pub fn now_secs(&self) -> u64 {
        self.party.judge.now_secs()
    }
}

impl<J: JudgesKms> KmsClient<J> {
    /// The same with any judge of what answers.
    pub(crate) fn judged_by(
        voice: Voice,
        urls: &[String],
        judge: J,
        proof: AgentProof,
        reports: Reports,
    ) -> Result<Self, KmsError> {
        let settings = Settings { own: voice.role(), side: Side::Client { server: Role::App } };
        let (attester, judge) = (Arc::new(proof), Arc::new(judge));
        let party = Party { settings, alpn: ALPN_KMS, key: TlsKey::generate()?, attester, judge };
        let understood = |url: &String| {
            Address::parse(url).inspect_err(|error| tracing::warn!("kms_urls: {error}")).ok()
        };
        let addresses = urls.iter().filter_map(understood).collect();
        Ok(Self { voice, addresses, party, caller: Mutex::default(), reports })
    }

    /// Makes one call, on the connection that there is or on a new one.
    ///
    /// A call whose answer was lost is made again: the KMS counts, so that no number that it gives
    /// out is given twice.
    ///
    /// # Errors
    /// If no address is the pinned KMS, or it refuses.
    pub async fn call<A: Message, R: Message>(
        &self,
        method: &'static str,
        arguments: &A,
    ) -> Result<R, KmsError> {
        self.round(method, arguments).await.map_err(|round| round.error)
    }

    /// One call, at each address in turn until one answers.
    async fn round<A: Message, R: Message>(
        &self,
        method: &'static str,
        arguments: &A,
    ) -> Result<R, Round> {
        let mut caller = self.caller.lock().await;
        if let Some(open) = caller.as_mut().filter(|caller| !caller.is_closed()) {
            match answer(self.voice, open, method, arguments).await {
                Err(KmsError::Away(reason)) => tracing::info!("the KMS is asked anew: {reason}"),
                answered => return answered.map_err(Round::of),
            }
        }
        *caller = None;
        let mut round = Round::default();
        for address in &self.addresses {
            let called = async {
                let mut opened = self.open(address).await?;
                let answered = answer(self.voice, &mut opened, method, arguments).await;
                Ok((opened, answered))
            };
            let error = match called.await {
                Ok((opened, Ok(answered))) => {
                    *caller = Some(opened);
                    return Ok(answered);
                }
                Ok((_, Err(error))) | Err(error) => error,
            };
            tracing::warn!("the KMS at {address}: {error}");
            round.add(error);
        }
        Err(round)
    }

    /// The same, and waits while the call may still succeed; the status channel then has `reached`
    /// with the reason of the wait.
    ///
    /// # Errors
    /// If the KMS refuses.
    pub async fn wait_for<A: Message, R: Message>(
        &self,
        reached: Phase,
        method: &'static str,
        arguments: &A,
    ) -> Result<R, KmsError> {
        self.wait_for_since(reached, method, arguments).await.map(|(answer, _)| answer)
    }

    /// The same, with the moment before the call that was answered.
    ///
    /// # Errors
    /// If the KMS refuses.
    pub async fn wait_for_since<A: Message, R: Message>(
        &self,
        reached: Phase,
        method: &'static str,
        arguments: &A,
    ) -> Result<(R, Instant), KmsError> {
        let (mut wait, mut told) = (FIRST_WAIT, None);
        let started = Instant::now();
        loop {
            let asked = Instant::now();
            let round = match self.round(method, arguments).await {
                Err(round) if round.may_pass(started.elapsed()) => round,
                answered => {
                    return answered.map(|answer| (answer, asked)).map_err(|round| round.error);
                }
            };
            let (refusal, error) = (round.waits_for(), round.error);
            if told.replace(refusal) != Some(refusal) {
                self.reports.send(reached, refusal);
            }
            tracing::warn!("{method} is asked again in {} ms: {error}", wait.as_millis());
            sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn open(&self, address: &Address) -> Result<Caller<J::Peer>, KmsError> {
        let away = |error: &dyn std::error::Error| KmsError::Away(error.to_string());
        let stream = timeout(CONNECT_WITHIN, TcpStream::connect(address.host_and_port()))
            .await
            .map_err(|late| away(&late))?
            .map_err(|error| away(&error))?;
        // Frames are written whole: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let channel = channel::connect(stream, &self.party).await.map_err(KmsError::of_channel)?;
        let mut opened = Caller::over(channel).await.map_err(KmsError::of_call)?;
        self.hold_at_its_time(&mut opened).await?;
        Ok(opened)
    }

    /// Asks for the KMS's time, and judges it again at that time.
    async fn hold_at_its_time(&self, opened: &mut Caller<J::Peer>) -> Result<(), KmsError> {
        let told: GetTimeResponse =
            answer(self.voice, opened, "GetTime", &GetTimeRequest {}).await?;
        let rests_on = told.source().map_err(|error| KmsError::Away(error.to_string()))?;
        let now_secs = told.time_ms / 1000;
        let held = self.party.judge.judge_at(opened.peer(), now_secs).await;
        held.map_err(|why| KmsError::Outdated(format!("{now_secs}, by {rests_on}: {why}")))?;
        tracing::debug!("the KMS's time is {now_secs}, by {rests_on}, within {:?}", told.bound_ms);
        Ok(())
    }
}

async fn answer<P, A: Message, R: Message>(
    voice: Voice,
    caller: &mut Caller<P>,
    method: &'static str,
    arguments: &A,
) -> Result<R, KmsError> {
    caller.call(voice.service(), method, arguments).await.map_err(KmsError::of_call)
}

/// What all addresses said to one call.
#[derive(Debug)]
struct Round {
    /// What weighs most: a word of the KMS before a word of something else at its address, and both
    /// before silence.
    error: KmsError,
    /// Whether an address gave no word: the KMS may be there, and back later.
    silent: bool,
}

impl Default for Round {
    fn default() -> Self {
        Self { error: KmsError::NoAddress, silent: false }
    }
}

impl Round {
    fn of(error: KmsError) -> Self {
        let mut round = Self::default();
        round.add(error);
        round
    }

    fn add(&mut self, error: KmsError) {
        let rank = |error: &KmsError| match error {
            KmsError::NoAddress => 0,
            KmsError::Away(_) => 1,
            KmsError::Foreign(_) => 2,
            KmsError::NoProof(_) | KmsError::Setup(_) => 3,
            KmsError::TurnedAway(_) => 4,
            KmsError::Outdated(_) => 5,
            KmsError::Held(_) => 6,
            KmsError::Refused(_) | KmsError::UsedUp(_) => 7,
            KmsError::Superseded(_) => 8,
        };
        self.silent |= matches!(error, KmsError::Away(_));
        if rank(&error) > rank(&self.error) {
            self.error = error;
        }
    }

    /// Whether the same call may succeed later, after it was made again and again for `waited`. A
    /// stranger's word does not end a guest whose KMS may be the address that is silent.
    fn may_pass(&self, waited: Duration) -> bool {
        match &self.error {
            KmsError::TurnedAway(_) => self.silent && waited < SILENCE_GRACE,
            error => error.refusal().goes_on(),
        }
    }

    /// The code of what is waited for.
    fn waits_for(&self) -> Refusal {
        match &self.error {
            KmsError::TurnedAway(_) => Refusal::KmsAway,
            error => error.refusal(),
        }
    }
}

#[cfg(test)]
pub mod tests;
