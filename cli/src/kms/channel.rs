//! The owner's end: a channel to a KMS, and calls on it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use attestation::kms::{KmsRules, VerifiedKms, judge_kms};
use channel::calls::{CallError, Caller};
use channel::{ChannelError, Judge};
use protocol::channel::{ALPN_KMS, Binding, OwnerProof, Proof, Refusal, RefusalCode, Role};
use protocol::evidence::Evidence;
use protocol::kms::{KmsService, Statement};
use protocol::prpc::Message;
use tokio::runtime::Runtime;

use crate::clock::now_secs;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::owner::Owner;
use crate::owners_channel::{self, ConnectionKey, Service};

/// The KMS's service.
const KMS: Service = Service { alpn: ALPN_KMS, server: Role::App };

/// Between two tries to reach a KMS that does not answer yet.
const PAUSE: Duration = Duration::from_millis(500);

/// Where a KMS is, and what it must be.
#[derive(Debug, Clone)]
pub struct Target {
    /// `HOST:PORT` of its channel.
    pub address: String,
    /// What it must prove.
    pub rules: KmsRules,
}

/// Anything that answers an owner's calls.
pub trait Calls {
    /// Makes one call of the service that this user's key has.
    fn call<A: Message, R: Message>(&mut self, method: &str, arguments: &A) -> Outcome<R>;
}

/// An open channel to a KMS that was verified.
pub struct Connection {
    runtime: Runtime,
    caller: Caller<VerifiedKms>,
    service: KmsService,
}

/// Why there is no connection: a KMS that may answer later, or one that is not what it must be.
#[derive(Debug)]
pub enum NoConnection {
    /// Nothing answers yet.
    Away(Failure),
    /// What answers was refused, or refuses this owner.
    Refused(Failure),
}

impl From<NoConnection> for Failure {
    fn from(error: NoConnection) -> Self {
        match error {
            NoConnection::Away(failure) | NoConnection::Refused(failure) => failure,
        }
    }
}

impl Connection {
    /// Opens a channel: the KMS is judged, this owner's key signs the connection.
    pub fn open(target: &Target, owner: Arc<Owner>) -> Result<Self, NoConnection> {
        Self::open_as(KmsService::Owner, target, owner)
    }

    /// The same for any key, which the KMS has to know as one of this service.
    pub fn open_as<K: ConnectionKey>(
        service: KmsService,
        target: &Target,
        key: Arc<K>,
    ) -> Result<Self, NoConnection> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .hint("starting the client", "see the message")
            .map_err(NoConnection::Refused)?;
        let judge = KmsJudge { rules: target.rules.clone() };
        let address = &target.address;
        let caller = runtime.block_on(async {
            let channel = owners_channel::open(address, KMS, key, judge).await;
            let channel = channel.map_err(|error| no_channel(address, error))?;
            Caller::over(channel).await.map_err(|error| NoConnection::Away(called("open", &error)))
        })?;
        Ok(Self { runtime, caller, service })
    }

    /// The same for a KMS that may have started just now: the program in the container needs a
    /// moment more than its machine.
    pub fn awaited(target: &Target, owner: &Arc<Owner>, timeout: Duration) -> Outcome<Self> {
        let deadline = Instant::now() + timeout;
        loop {
            match Self::open(target, Arc::clone(owner)) {
                Err(NoConnection::Away(_)) if Instant::now() < deadline => {
                    std::thread::sleep(PAUSE);
                }
                outcome => return outcome.map_err(Failure::from),
            }
        }
    }

    /// What is known of the KMS.
    pub fn peer(&self) -> &VerifiedKms {
        self.caller.peer()
    }
}

impl Calls for Connection {
    fn call<A: Message, R: Message>(&mut self, method: &str, arguments: &A) -> Outcome<R> {
        let Self { runtime, caller, service } = self;
        runtime
            .block_on(caller.call(*service, method, arguments))
            .map_err(|error| called(method, &error))
    }
}

/// A guest that boots takes connections before its KMS does, and ends them.
fn no_channel(address: &str, error: ChannelError) -> NoConnection {
    let away = match &error {
        ChannelError::Io(_) | ChannelError::Late => true,
        ChannelError::Violation(channel::machine::Violation::Refused(refusal))
        | ChannelError::Refused(refusal) => refusal.code == RefusalCode::Unavailable,
        _ => false,
    };
    let what = format!("the KMS at {address}: {}", protocol::error::chain(&error));
    match away {
        true => NoConnection::Away(Failure::new(what, "does the machine run? `dstyx ps` says so")),
        false => NoConnection::Refused(Failure::new(
            what,
            "nothing was signed and no share was given; is it the KMS that you started?",
        )),
    }
}

fn called(method: &str, error: &CallError) -> Failure {
    let hint = match error {
        CallError::Refused { .. } => "the KMS gives its reason; `dstyx kms status` shows its state",
        _ => "try again; `dstyx logs kms --console` may say why",
    };
    Failure::new(format!("{method}: {}", protocol::error::chain(error)), hint)
}

/// Judges by rules and by this machine's clock.
struct KmsJudge {
    rules: KmsRules,
}

impl Judge for KmsJudge {
    type Peer = VerifiedKms;

    async fn judge(&self, proof: Proof, binding: &Binding) -> Result<VerifiedKms, Refusal> {
        let refused = |text: String| Refusal::new(RefusalCode::Evidence, &text);
        let statement =
            Statement::parse(&proof.statement).map_err(|error| refused(error.to_string()))?;
        let now_secs = now_secs().map_err(|failure| refused(failure.to_string()))?;
        let report_data = binding
            .report_data()
            .ok_or_else(|| refused("the server's role has no report data".to_owned()))?;
        let evidence = Evidence::from(proof);
        judge_kms(&evidence, &statement, report_data, &binding.exporter, &self.rules, now_secs)
            .map_err(|refusal| refused(protocol::error::chain(&refusal)))
    }

    async fn judge_owner(
        &self,
        _proof: OwnerProof,
        _signed: &[u8],
    ) -> Result<VerifiedKms, Refusal> {
        Err(Refusal::new(RefusalCode::Role, "a KMS proves with evidence"))
    }

    fn unattested(&self) -> Result<VerifiedKms, Refusal> {
        Err(Refusal::new(RefusalCode::Evidence, "a KMS proves with evidence"))
    }
}
