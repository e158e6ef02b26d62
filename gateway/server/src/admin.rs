//! Owners' calls, on a port of their own: each is signed by as many owners as decide, or refused.
//!
//! Whoever connects is a stranger. Nothing here is secret, and no answer has a key or a token; what
//! an answer says is the gateway's word over plain HTTP, which nobody has to believe.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use attestation::signatures::{self, PayloadType, SignatureError, Trust};
use gateway_rules::admin::{Call, CallError, Nonces, PAYLOAD_TYPE, judge};
use gateway_rules::names::DomainName;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use protocol::digest::InstanceId;
use serde_json::{Value, json};
use service::answer::{self, Answer, refusal};
use service::server::Answers;

use crate::domains::Domain;
use crate::issuance::Order;
use crate::own_pages::{Own, described};
use crate::slots::locked;

/// Connections at a time.
pub const MAX_CONNECTIONS: usize = 16;
/// Largest envelope: a call and 32 signatures.
const MAX_ENVELOPE_BYTES: usize = 32 << 10;

/// Why a call is not taken.
#[derive(Debug, thiserror::Error)]
enum Refused {
    /// signatures
    #[error(transparent)]
    Signatures(#[from] SignatureError),
    /// the call
    #[error(transparent)]
    Call(#[from] CallError),
    /// a base domain that is not served here
    #[error("{0} is no base domain of this gateway")]
    Base(DomainName),
    /// a thread that ended
    #[error("the thread of {0} has ended")]
    Ended(DomainName),
    /// a body beyond its budget
    #[error("an envelope of more than {MAX_ENVELOPE_BYTES} bytes")]
    Long,
    /// no random numbers
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// Answers owners.
pub struct Admin {
    trust: Trust,
    gateway: InstanceId,
    own: Arc<Own>,
    orders: BTreeMap<DomainName, Sender<Order>>,
    nonces: Mutex<Nonces>,
    started: Instant,
}

impl Admin {
    /// For these owners; orders go to the threads of the base domains.
    pub fn new(
        trust: Trust,
        gateway: InstanceId,
        own: Arc<Own>,
        orders: BTreeMap<DomainName, Sender<Order>>,
    ) -> Self {
        let (nonces, started) = (Mutex::default(), Instant::now());
        Self { trust, gateway, own, orders, nonces, started }
    }

    fn nonce(&self) -> Result<Value, Refused> {
        let mut random = [0; 32];
        getrandom::fill(&mut random)?;
        let nonce = locked(&self.nonces).give(random, self.started.elapsed());
        Ok(json!({ "gateway": self.gateway, "nonce": nonce }))
    }

    async fn call(&self, request: Request<Incoming>) -> Result<Value, Refused> {
        let body = Limited::new(request.into_body(), MAX_ENVELOPE_BYTES).collect().await;
        let body = body.map_err(|_| Refused::Long)?.to_bytes();
        let signed = signatures::verify(&body, PayloadType(PAYLOAD_TYPE), &self.trust)?;
        let now = (self.started.elapsed(), now_secs());
        let call = judge(signed.payload(), self.gateway, &mut locked(&self.nonces), now)?;
        tracing::info!("{} owners call: {call:?}", signed.signers().len());
        match call {
            Call::Status => Ok(self.status()),
            Call::Renew(base) => self.order(base, Order::Renew),
            Call::ForgetAccount(base) => self.order(base, Order::ForgetAccount),
        }
    }

    fn order(&self, base: DomainName, order: Order) -> Result<Value, Refused> {
        let Some(thread) = self.orders.get(&base) else { return Err(Refused::Base(base)) };
        thread.send(order).map_err(|_| Refused::Ended(base))?;
        Ok(json!({ "ordered": true }))
    }

    fn status(&self) -> Value {
        let all = self.own.domains.all();
        Value::Array(all.iter().map(|(name, domain)| status(name, domain)).collect())
    }
}

fn status(name: &DomainName, domain: &Domain) -> Value {
    let served = domain.standing.served(now_secs());
    let served = served.map(|servable| {
        let rows = described(domain, servable).into_iter();
        rows.map(|(key, value)| (key.to_owned(), Value::String(value))).collect()
    });
    json!({
        "base_domain": name.as_str(),
        "served": served.map(Value::Object),
        "failed": domain.standing.failure().map(ToString::to_string),
    })
}

impl Answers for Admin {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let found = match (request.method(), request.uri().path()) {
            (&Method::GET, "/nonce") => self.nonce(),
            (&Method::POST, "/call") => self.call(request).await,
            _ => {
                let what = "GET /nonce and POST /call are all that is answered";
                return refusal(StatusCode::NOT_FOUND, what, "see docs/gateway.md");
            }
        };
        match found {
            Ok(value) => answer::json(value.to_string().into_bytes()),
            Err(error) => {
                let text = protocol::error::chain(&error);
                // Not louder: strangers could fill the console.
                tracing::debug!("owners' port: {text}");
                let status = match error {
                    Refused::Base(_) => StatusCode::NOT_FOUND,
                    Refused::Ended(_) | Refused::Random(_) => StatusCode::SERVICE_UNAVAILABLE,
                    _ => StatusCode::FORBIDDEN,
                };
                refusal(status, &text, "ask for a nonce, and have the call signed anew")
            }
        }
    }
}

fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}
