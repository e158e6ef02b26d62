//! Servers that are overloaded or failing for now, and how long they ask to be left alone.

use std::time::Duration;

/// Longest `Retry-After` that is honoured; a registry's window for its rate limit is mostly
/// shorter.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// The statuses of an overloaded or failing server.
pub(super) fn is_busy(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// The seconds of a `Retry-After` (RFC 9110, section 10.2.3). A date is not honoured: the guest's
/// clock is the host's word.
pub(super) fn retry_after(text: &str) -> Option<Duration> {
    let secs: u64 = text.trim().parse().ok()?;
    Some(Duration::from_secs(secs).min(MAX_RETRY_AFTER))
}
