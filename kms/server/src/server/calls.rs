//! Calls of one connection, as `prpc` over HTTP.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use protocol::kms::KmsService;
use protocol::prpc::{Arguments, PrpcError};
use service::budget::Budget;
use service::prpc::{self, Calls};
use service::{Answer, Answers};

use crate::judge::Peer;
use crate::member::{Caller, Member, MemberError};

/// Why a call has no answer; the text is what the client reads.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// the call was not understood
    #[error(transparent)]
    Prpc(#[from] PrpcError),
    /// the KMS refuses
    #[error(transparent)]
    Member(#[from] MemberError),
    /// a thread that was lost
    #[error("the answer was not finished")]
    Lost,
}

impl prpc::CallError for CallError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Prpc(error) => prpc::status(error),
            Self::Member(error) => error.status(),
            Self::Lost => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// One connection: who is at its other end, and what that may call.
pub struct Session {
    service: KmsService,
    caller: Arc<Caller>,
    member: Arc<Member>,
    budget: Budget,
}

impl Session {
    /// Of a channel.
    pub fn of_peer(peer: Peer, member: Arc<Member>, budget: Budget) -> Self {
        let (service, caller) = match peer {
            Peer::Guest(guest) => (KmsService::Guest, Caller::Guest(guest)),
            Peer::Middleware(guest) => (KmsService::Middleware, Caller::Middleware(guest)),
            Peer::Custodian(key) => (KmsService::Custodian, Caller::Custodian(key)),
            Peer::Owner(key) => (KmsService::Owner, Caller::Owner(key)),
            Peer::Process(process) => (KmsService::Member, Caller::Process(process)),
        };
        Self { service, caller: Arc::new(caller), member, budget }
    }

    /// Of a connection with anybody.
    pub fn public(member: Arc<Member>, budget: Budget) -> Self {
        Self { service: KmsService::Public, caller: Arc::new(Caller::Anybody), member, budget }
    }
}

impl Answers for Session {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        prpc::respond(self, request).await
    }
}

impl Calls for Session {
    type Error = CallError;

    fn budget(&self) -> &Budget {
        &self.budget
    }

    fn name(&self) -> &'static str {
        self.service.name()
    }

    fn method(&self, path: &str) -> Result<&'static str, PrpcError> {
        self.service.method(path)
    }

    async fn call(
        &self,
        method: &'static str,
        arguments: Arguments<'_>,
    ) -> Result<Vec<u8>, CallError> {
        let encoding = arguments.encoding();
        let request = self.service.read(method, arguments)?;
        let (member, caller) = (Arc::clone(&self.member), Arc::clone(&self.caller));
        // On a thread of its own: the disk writes before the answer leaves, and calls take turns.
        let answered =
            tokio::task::spawn_blocking(move || member.answer(&caller, request, encoding));
        Ok(answered.await.map_err(|_| CallError::Lost)??)
    }
}
