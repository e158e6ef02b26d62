//! Seconds since 1970, spans of validity, and their RFC 3339 text. The clock is the caller's.

use std::time::Duration;

use x509_cert::der::DateTime;

/// A span in which something is valid, both ends included; seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from: u64,
    pub(crate) until: u64,
}

impl Window {
    /// Whether `now` lies in it.
    pub(crate) fn contains(&self, now: u64) -> bool {
        (self.from..=self.until).contains(&now)
    }

    /// For a person: `2025-06-19T10:16:03Z to 2025-07-19T10:16:03Z`.
    pub(crate) fn text(&self) -> String {
        format!("{} to {}", rfc3339(self.from), rfc3339(self.until))
    }
}

/// RFC 3339 in UTC; a time after the year 9999 as its number of seconds.
pub(crate) fn rfc3339(secs: u64) -> String {
    DateTime::from_unix_duration(Duration::from_secs(secs))
        .map_or_else(|_| format!("{secs} s"), |time| time.to_string())
}

/// Reads `YYYY-MM-DDTHH:MM:SSZ`, the only form that Intel's collateral uses.
pub(crate) fn parse_rfc3339(text: &str) -> Option<u64> {
    text.parse::<DateTime>().ok().map(|time| time.unix_duration().as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_their_text() {
        let secs = 1_750_328_163;
        assert_eq!(rfc3339(secs), "2025-06-19T10:16:03Z");
        assert_eq!(parse_rfc3339(&rfc3339(secs)), Some(secs));
        assert_eq!(parse_rfc3339("2025-06-19 10:16:03"), None);
    }
}
