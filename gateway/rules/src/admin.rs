//! What owners ask of a running gateway: calls that enough of them signed, each good once and for a
//! short while.
//!
//! Whoever reaches the port is a stranger. A call counts by signatures alone, which are counted
//! elsewhere; here it is judged whether the signed text is a call to this gateway now. A call names
//! the gateway and a nonce that it gave out, so that it is neither another gateway's nor one of
//! yesterday.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::digest::{InstanceId, Sha256Digest};
use protocol::strict_json::{self, JsonError};
use serde::{Deserialize, Serialize};

use crate::names::{DomainName, NameError};

/// The media type under which owners sign calls, so that a signature for one is none for anything
/// else.
pub const PAYLOAD_TYPE: &str = "application/vnd.dstyx.gateway-call+json";
/// Largest call: a name and some numbers.
pub const MAX_CALL_BYTES: usize = 2048;
/// How long a nonce holds: owners sign apart from each other.
pub const NONCE_HOLDS: Duration = Duration::from_secs(600);
/// Nonces that are held at a time. Anybody may ask for one; what displaces an owner's costs the
/// owner another try.
pub const MAX_NONCES: usize = 256;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// What is served under each base domain, and what failed.
    Status,
    /// A new certificate now.
    Renew(DomainName),
    /// The stored account is forgotten, so that a new one is made where no record forbids it.
    ForgetAccount(DomainName),
}

/// Why a signed text is no call to this gateway now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// another JSON
    #[error("no call: {0}")]
    Json(#[from] JsonError),
    /// a call to another gateway
    #[error("the call is to the gateway {found}, and this is {expected}")]
    OtherGateway {
        /// The instance in the call.
        found: InstanceId,
        /// This one.
        expected: InstanceId,
    },
    /// a call that is over
    #[error("the call ended at {not_after_secs} s, and it is {now_secs} s")]
    Over {
        /// Its end, in seconds since 1970.
        not_after_secs: u64,
        /// Now, in seconds since 1970.
        now_secs: u64,
    },
    /// a nonce that is not one of the last ones, or was used
    #[error("the call's nonce was not given out, was used, or is older than 10 minutes")]
    Nonce,
    /// a name that is none
    #[error("the call's base domain: {0}")]
    Name(#[from] NameError),
}

/// A call as owners sign it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCall {
    /// The instance of the gateway.
    pub gateway: InstanceId,
    /// One that it gave out.
    pub nonce: Sha256Digest,
    /// The last second in which the call counts, since 1970.
    pub not_after_secs: u64,
    /// What is asked for.
    pub call: RawWish,
}

/// What is asked for, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RawWish {
    /// [`Call::Status`].
    Status,
    /// [`Call::Renew`].
    Renew {
        /// The base domain.
        base: String,
    },
    /// [`Call::ForgetAccount`].
    ForgetAccount {
        /// The base domain.
        base: String,
    },
}

/// Nonces that were given out and not used. Times are durations since the gateway's start.
#[derive(Debug, Default)]
pub struct Nonces(VecDeque<(Sha256Digest, Duration)>);

impl Nonces {
    /// Gives out one, of bytes that nobody can guess.
    pub fn give(&mut self, random: [u8; 32], now: Duration) -> Sha256Digest {
        let nonce = Sha256Digest(random);
        self.forget(now);
        if self.0.len() == MAX_NONCES {
            self.0.pop_front();
        }
        self.0.push_back((nonce, now));
        nonce
    }

    /// Uses one up.
    fn take(&mut self, nonce: &Sha256Digest, now: Duration) -> Result<(), CallError> {
        self.forget(now);
        let place = self.0.iter().position(|(known, _)| known == nonce);
        self.0.remove(place.ok_or(CallError::Nonce)?);
        Ok(())
    }

    fn forget(&mut self, now: Duration) {
        self.0.retain(|(_, given)| now < *given + NONCE_HOLDS);
    }
}

/// The call in a text that enough owners signed. `now` is since the gateway's start, `now_secs`
/// since 1970. The nonce is used up by a call to this gateway, whatever else is wrong with it.
///
/// # Errors
/// If it is no call to this gateway now.
pub fn judge(
    signed: &[u8],
    gateway: InstanceId,
    nonces: &mut Nonces,
    (now, now_secs): (Duration, u64),
) -> Result<Call, CallError> {
    let raw: RawCall = strict_json::parse(signed, MAX_CALL_BYTES)?;
    if raw.gateway != gateway {
        return Err(CallError::OtherGateway { found: raw.gateway, expected: gateway });
    }
    nonces.take(&raw.nonce, now)?;
    let not_after_secs = raw.not_after_secs;
    if now_secs > not_after_secs {
        return Err(CallError::Over { not_after_secs, now_secs });
    }
    Ok(match raw.call {
        RawWish::Status => Call::Status,
        RawWish::Renew { base } => Call::Renew(DomainName::parse(&base)?),
        RawWish::ForgetAccount { base } => Call::ForgetAccount(DomainName::parse(&base)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: InstanceId = InstanceId([7; 20]);
    const SECOND: Duration = Duration::from_secs(1);

    fn text(nonce: Sha256Digest, call: RawWish) -> Vec<u8> {
        let raw = RawCall { gateway: GATEWAY, nonce, not_after_secs: 100, call };
        serde_json::to_vec(&raw).unwrap()
    }

    fn judged(signed: &[u8], nonces: &mut Nonces, now: u64) -> Result<Call, CallError> {
        judge(signed, GATEWAY, nonces, (Duration::from_secs(now), now))
    }

    #[test]
    fn a_call_counts_once_and_in_time() {
        let mut nonces = Nonces::default();
        let nonce = nonces.give([1; 32], SECOND);
        let wish = RawWish::Renew { base: "Apps.example".to_owned() };
        let signed = text(nonce, wish);
        let base = DomainName::parse("apps.example").unwrap();
        assert_eq!(judged(&signed, &mut nonces, 2), Ok(Call::Renew(base)));
        assert_eq!(judged(&signed, &mut nonces, 2), Err(CallError::Nonce), "a second time");
        let never = text(Sha256Digest([2; 32]), RawWish::Status);
        assert_eq!(judged(&never, &mut nonces, 2), Err(CallError::Nonce));
        let late = text(nonces.give([3; 32], SECOND), RawWish::Status);
        let over = CallError::Over { not_after_secs: 100, now_secs: 101 };
        assert_eq!(judged(&late, &mut nonces, 101), Err(over));
        let old = nonces.give([4; 32], SECOND);
        let old = text(old, RawWish::Status);
        let judged = judge(&old, GATEWAY, &mut nonces, (SECOND + NONCE_HOLDS, 50));
        assert_eq!(judged, Err(CallError::Nonce), "older than it holds");
    }

    #[test]
    fn another_gateway_s_call_and_another_text_are_refused_and_cost_no_nonce() {
        let mut nonces = Nonces::default();
        let nonce = nonces.give([1; 32], SECOND);
        let signed = text(nonce, RawWish::Status);
        let other = judge(&signed, InstanceId([8; 20]), &mut nonces, (SECOND, 1));
        assert!(matches!(other, Err(CallError::OtherGateway { .. })));
        let more = String::from_utf8(signed.clone()).unwrap().replace('{', "{\"a\":1,");
        assert!(matches!(judged(more.as_bytes(), &mut nonces, 1), Err(CallError::Json(_))));
        assert_eq!(judged(&signed, &mut nonces, 1), Ok(Call::Status));
    }

    #[test]
    fn strangers_who_ask_for_nonces_fill_no_memory() {
        let mut nonces = Nonces::default();
        for number in 0..=MAX_NONCES {
            nonces.give(Sha256Digest::of(&number.to_le_bytes()).0, SECOND);
        }
        assert_eq!(nonces.0.len(), MAX_NONCES);
    }
}
