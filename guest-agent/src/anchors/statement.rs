//! The release statement of a guest that ends with it, as the measured file asks for
//! (`without_kms: stop`).
//!
//! The KMS lets no other guest open the disk before the last statement has ended, so that of two
//! guests of one instance only one ever runs. The guest's clock is its host's: how long a statement
//! holds is counted by the guest's own time stamps from the moment at which it was asked for, which
//! is before the KMS signed it. Agents that are started again go on with what is left.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use attestation::signatures::{Envelope, PayloadType};
use protocol::kms::{ReleaseStatement, SignedRelease, payload_type};
use tokio::time::Instant;

use crate::memory::MemoryError;

/// How long before its statement a guest begins to end: the app has 80 s, and the machine what is
/// left.
const ENDING_TAKES: Duration = Duration::from_secs(120);

/// Keeps for the agents after this one how much of a statement is left.
pub type Keep = Box<dyn Fn(Duration) -> Result<(), MemoryError> + Send + Sync>;

/// When the guest's statement ends.
pub struct StatementEnd {
    end: Mutex<Instant>,
    keep: Keep,
}

impl fmt::Debug for StatementEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatementEnd").field("end", &self.end).finish_non_exhaustive()
    }
}

impl StatementEnd {
    /// Of a statement of which this much is left.
    pub fn new(left: Duration, keep: Keep) -> Self {
        Self { end: Mutex::new(Instant::now() + left), keep }
    }

    /// When the guest begins to end.
    pub fn begins(&self) -> Instant {
        let end = *self.end.lock().unwrap_or_else(PoisonError::into_inner);
        end.checked_sub(ENDING_TAKES).unwrap_or(end)
    }

    /// A statement that was asked for at this moment holds for so long.
    ///
    /// # Errors
    /// If that cannot be kept; the statement before it counts then.
    pub fn renew(&self, asked: Instant, holds: Duration) -> Result<(), MemoryError> {
        let renewed = asked + holds;
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        if renewed > *end {
            (self.keep)(renewed.saturating_duration_since(Instant::now()))?;
            *end = renewed;
        }
        Ok(())
    }

    /// Nothing of the app runs any more, nor does it in an agent that is started again.
    ///
    /// # Errors
    /// If that cannot be kept.
    pub fn over(&self) -> Result<(), MemoryError> {
        (self.keep)(Duration::ZERO)?;
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        Ok(())
    }
}

/// For how long a statement holds, counted from its signature; `None` if it is none. It came from
/// the verified KMS itself, so its signatures are for others.
pub fn holds(release: &SignedRelease) -> Option<Duration> {
    let envelope = release.statement.as_bytes();
    let envelope = Envelope::parse(envelope, PayloadType(payload_type::RELEASE)).ok()?;
    let statement = ReleaseStatement::parse(envelope.payload()).ok()?;
    Some(Duration::from_secs(statement.not_after_secs - statement.issued_secs))
}

#[cfg(test)]
pub mod tests {
    use std::sync::Arc;

    use super::*;

    /// What was kept, in order.
    pub type Kept = Arc<Mutex<Vec<Duration>>>;

    /// A statement of which this much is left, and what is kept of it.
    pub fn end(left: Duration) -> (StatementEnd, Kept) {
        let kept = Kept::default();
        let keeps = Arc::clone(&kept);
        let keep = move |left| {
            keeps.lock().unwrap().push(left);
            Ok(())
        };
        (StatementEnd::new(left, Box::new(keep)), kept)
    }

    /// The text of the vector's statement, with another end.
    pub fn release(holds_secs: u64) -> String {
        let vector = include_str!("../../../tests/vectors/attestation/kms-release.json");
        let vector: serde_json::Value = serde_json::from_str(vector).unwrap();
        let text = vector["release"].as_str().unwrap();
        let mut signed = SignedRelease::parse(text.as_bytes()).unwrap();
        let envelope =
            Envelope::parse(signed.statement.as_bytes(), PayloadType(payload_type::RELEASE))
                .unwrap();
        let mut statement = ReleaseStatement::parse(envelope.payload()).unwrap();
        statement.not_after_secs = statement.issued_secs + holds_secs;
        let payload = statement.to_json();
        signed.statement = Envelope::new(PayloadType(payload_type::RELEASE), payload).to_json();
        signed.to_json()
    }

    #[test]
    fn a_statement_holds_from_its_signature_to_its_end() {
        let of = |text: &str| holds(&SignedRelease::parse(text.as_bytes()).unwrap());
        assert_eq!(of(&release(3600)), Some(Duration::from_secs(3600)));
        assert_eq!(of(&release(0)), Some(Duration::ZERO));
        let mut other = SignedRelease::parse(release(60).as_bytes()).unwrap();
        other.statement = other.root.clone();
        assert_eq!(holds(&other), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_counts_from_the_moment_at_which_it_was_asked_for_and_never_shortens() {
        let (end, kept) = end(Duration::ZERO);
        let asked = Instant::now();
        assert!(end.begins() <= asked);
        tokio::time::sleep(Duration::from_secs(50)).await;
        end.renew(asked, Duration::from_secs(3600)).unwrap();
        assert_eq!(end.begins(), asked + Duration::from_secs(3600) - ENDING_TAKES);
        end.renew(asked, Duration::from_secs(60)).unwrap();
        assert_eq!(end.begins(), asked + Duration::from_secs(3600) - ENDING_TAKES);
        end.over().unwrap();
        assert!(end.begins() <= Instant::now());
        assert_eq!(*kept.lock().unwrap(), [Duration::from_secs(3550), Duration::ZERO]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_statement_that_cannot_be_kept_does_not_count() {
        let keep = |_| Err(MemoryError::Torn);
        let end = StatementEnd::new(Duration::from_secs(600), Box::new(keep));
        let begins = end.begins();
        end.renew(Instant::now(), Duration::from_secs(3600)).unwrap_err();
        end.over().unwrap_err();
        assert_eq!(end.begins(), begins);
    }
}
