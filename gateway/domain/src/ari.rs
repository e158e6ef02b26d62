//! When a certificate is renewed (RFC 9773): at a time inside the window that its authority
//! suggests, and by a rule of our own where it suggests none that can be meant.

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::certificate::Validity;

/// Largest answer: two times and an address.
pub const MAX_ANSWER_BYTES: usize = 4 << 10;
/// The window is asked for again at least that often, whatever the authority says (RFC 9773, 4.3.2,
/// recommends a day at most).
const MAX_POLL_SECS: u64 = 24 * 3600;
/// And at most that often.
const MIN_POLL_SECS: u64 = 3600;
/// Without a window: when this part of the lifetime is left.
const LEFT_PARTS: u64 = 3;
/// No window moves a renewal behind the time when this part of the lifetime is left: an order that
/// fails then can be repeated for days.
const LAST_PARTS: u64 = 10;

/// A window in which an authority wants a certificate to be renewed; seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    start_secs: u64,
    end_secs: u64,
}

/// Why an answer suggests no window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// another JSON
    #[error(transparent)]
    Json(#[from] protocol::strict_json::JsonError),
    /// a time of another form
    #[error("{0:?} is no time such as 2026-11-30T12:00:00Z")]
    Time(String),
    /// a window that ends before it starts
    #[error("a window that ends ({end_secs}) before it starts ({start_secs})")]
    Backwards {
        /// Its start, in seconds since 1970.
        start_secs: u64,
        /// Its end, in seconds since 1970.
        end_secs: u64,
    },
}

impl Window {
    /// Reads an authority's answer; keys that later standards add are passed over.
    ///
    /// # Errors
    /// If there is no window that can be meant.
    pub fn parse(answer: &[u8]) -> Result<Self, WindowError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            suggested_window: Suggested,
        }
        #[derive(Deserialize)]
        struct Suggested {
            start: String,
            end: String,
        }

        let answer: Answer = protocol::strict_json::parse(answer, MAX_ANSWER_BYTES)?;
        let secs = |text: String| parse_secs(&text).ok_or(WindowError::Time(text));
        let start_secs = secs(answer.suggested_window.start)?;
        let end_secs = secs(answer.suggested_window.end)?;
        match start_secs < end_secs {
            true => Ok(Self { start_secs, end_secs }),
            false => Err(WindowError::Backwards { start_secs, end_secs }),
        }
    }
}

/// When to renew, in seconds since 1970. `random` spreads renewals over the window; the same number
/// must be given for the same certificate each time, or the time moves with each question.
pub fn renewal_secs(validity: Validity, window: Option<Window>, random: u64) -> u64 {
    let lifetime = validity.not_after_secs.saturating_sub(validity.not_before_secs);
    let before_end = |parts: u64| validity.not_after_secs.saturating_sub(lifetime / parts);
    let Some(Window { start_secs, end_secs }) = window else {
        return before_end(LEFT_PARTS);
    };
    let wide = end_secs - start_secs;
    let within =
        start_secs + u64::try_from((u128::from(random) * u128::from(wide)) >> 64).unwrap_or(0);
    within.min(before_end(LAST_PARTS))
}

/// When the window is asked for again, given what the authority says of it, in seconds from now.
pub fn poll_secs(retry_after_secs: Option<u64>) -> u64 {
    retry_after_secs.unwrap_or(MAX_POLL_SECS).clamp(MIN_POLL_SECS, MAX_POLL_SECS)
}

fn parse_secs(text: &str) -> Option<u64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: u64 = 86_400;
    /// A certificate of 90 days.
    const VALIDITY: Validity =
        Validity { not_before_secs: 1_000 * DAY, not_after_secs: 1_090 * DAY };

    fn window(start_secs: u64, end_secs: u64) -> Option<Window> {
        Some(Window { start_secs, end_secs })
    }

    #[test]
    fn an_answer_has_a_window_that_goes_forwards() {
        let answer = br#"{"suggestedWindow":{"start":"2026-01-03T00:00:00Z",
            "end":"2026-01-04T00:00:00.5Z"},"explanationURL":"https://a.example/why"}"#;
        let window = Window::parse(answer).unwrap();
        assert_eq!(window.end_secs - window.start_secs, DAY);
        let backwards =
            br#"{"suggestedWindow":{"start":"2026-01-03T00:00:00Z","end":"2026-01-03T00:00:00Z"}}"#;
        assert!(matches!(Window::parse(backwards), Err(WindowError::Backwards { .. })));
        let never = br#"{"suggestedWindow":{"start":"soon","end":"later"}}"#;
        assert!(matches!(Window::parse(never), Err(WindowError::Time(_))));
        assert!(matches!(Window::parse(b"{}"), Err(WindowError::Json(_))));
    }

    #[test]
    fn without_a_window_a_third_of_the_lifetime_is_left() {
        assert_eq!(renewal_secs(VALIDITY, None, 7), 1_060 * DAY);
    }

    #[test]
    fn a_window_a_year_ahead_does_not_let_the_certificate_expire() {
        let last = 1_081 * DAY;
        assert_eq!(renewal_secs(VALIDITY, window(2_000 * DAY, 2_001 * DAY), 0), last);
        assert_eq!(renewal_secs(VALIDITY, window(0, u64::MAX), u64::MAX), last);
    }

    #[test]
    fn a_window_that_has_passed_means_now() {
        assert!(renewal_secs(VALIDITY, window(1_001 * DAY, 1_002 * DAY), 0) < 1_010 * DAY);
    }

    #[test]
    fn no_answer_makes_us_ask_each_second_or_never_again() {
        assert_eq!(poll_secs(Some(0)), MIN_POLL_SECS);
        assert_eq!(poll_secs(Some(u64::MAX)), MAX_POLL_SECS);
        assert_eq!(poll_secs(None), MAX_POLL_SECS);
    }

    proptest! {
        #[test]
        fn the_time_is_inside_the_window(start in 1_000..1_050_u64, wide in 1..20_u64, random: u64) {
            let (from, to) = (start * DAY, (start + wide) * DAY);
            let at = renewal_secs(VALIDITY, window(from, to), random);
            prop_assert!((from..to).contains(&at));
        }
    }
}
