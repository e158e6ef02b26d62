//! The parameters of `/logs/NAME`, as dstack and Docker have them.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Lines where none are asked for, as dstack has it.
pub const DEFAULT_TAIL: u64 = 1000;
/// Parameters by name, for the hint of a refusal.
pub const HINT: &str = "known are follow, text, bare, ansi and timestamps (true or false), tail (a number or all), since and \
                        until (seconds since 1970, a time like 2026-01-31T12:00:00Z, or how long ago: 90s, 10m, 1h30m, 2d)";

/// A request for a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Lines are sent as they come, after those that are there.
    pub follow: bool,
    /// Text instead of base64.
    pub text: bool,
    /// The output alone instead of documents about it.
    pub bare: bool,
    /// Terminal commands stay in bare text.
    pub ansi: bool,
    /// Each line begins with its time.
    pub timestamps: bool,
    /// Lines from the end.
    pub tail: u64,
    /// Time of the oldest line, since 1970.
    pub since: Option<Duration>,
    /// Time of the newest line, since 1970.
    pub until: Option<Duration>,
}

impl Asked {
    /// Reads a query; `now` is what a time in the past is counted from.
    pub fn parse(query: &str, now: Duration) -> Result<Self, String> {
        let mut asked = Self {
            follow: false,
            text: false,
            bare: false,
            ansi: false,
            timestamps: false,
            tail: DEFAULT_TAIL,
            since: None,
            until: None,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "follow" => asked.follow = truth(key, value)?,
                "text" => asked.text = truth(key, value)?,
                "bare" => asked.bare = truth(key, value)?,
                "ansi" => asked.ansi = truth(key, value)?,
                "timestamps" => asked.timestamps = truth(key, value)?,
                "tail" if value == "all" => asked.tail = u64::MAX,
                "tail" => {
                    asked.tail =
                        value.parse().map_err(|_| "tail: neither a number nor all".to_owned())?
                }
                "since" => asked.since = time(key, value, now)?,
                "until" => asked.until = time(key, value, now)?,
                _ => return Err("a parameter that no log has".to_owned()),
            }
        }
        Ok(asked)
    }
}

fn truth(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "" | "true" | "1" | "on" | "yes" => Ok(true),
        "false" | "0" | "off" | "no" => Ok(false),
        _ => Err(format!("{key}: neither true nor false")),
    }
}

/// Nothing and 0 are no bound.
fn time(key: &str, value: &str, now: Duration) -> Result<Option<Duration>, String> {
    if matches!(value, "" | "0") {
        return Ok(None);
    }
    let value = value.replace("%3A", ":").replace("%3a", ":").replace("%2B", "+");
    let at = seconds(&value)
        .or_else(|| calendar(&value))
        .or_else(|| Some(now.saturating_sub(ago(&value)?)))
        .ok_or_else(|| format!("{key}: no time"))?;
    Ok(Some(at))
}

/// Seconds since 1970, with up to nine decimals.
fn seconds(text: &str) -> Option<Duration> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > 9 {
        return None;
    }
    Some(Duration::new(whole.parse().ok()?, format!("{decimals:0<9}").parse().ok()?))
}

fn calendar(text: &str) -> Option<Duration> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let nanos = u64::try_from(time.unix_timestamp_nanos()).ok()?;
    Some(Duration::from_nanos(nanos))
}

/// A duration in units that do not grow: `1h30m`.
fn ago(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    let mut last = u64::MAX;
    while !rest.is_empty() {
        let at = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: u64 = rest[..at].parse().ok()?;
        let unit = match rest.as_bytes()[at] {
            b'd' => 86400,
            b'h' => 3600,
            b'm' => 60,
            b's' => 1,
            _ => return None,
        };
        if unit >= last {
            return None;
        }
        last = unit;
        total = total.checked_add(Duration::from_secs(count.checked_mul(unit)?))?;
        rest = &rest[at + 1..];
    }
    (last != u64::MAX).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000_000_000);

    #[test]
    fn dstacks_parameters_are_read() {
        let asked =
            Asked::parse("text&bare=true&follow=false&tail=20&timestamps=true&since=0&until=", NOW);
        let expected = Asked {
            follow: false,
            text: true,
            bare: true,
            ansi: false,
            timestamps: true,
            tail: 20,
            since: None,
            until: None,
        };
        assert_eq!(asked, Ok(expected));
        assert_eq!(Asked::parse("", NOW).unwrap().tail, DEFAULT_TAIL);
        assert_eq!(Asked::parse("tail=all", NOW).unwrap().tail, u64::MAX);
        for refused in ["since=soon", "until=-1", "tail=x", "tail=-1", "text=maybe", "more=1"] {
            assert!(Asked::parse(refused, NOW).is_err(), "{refused}");
        }
    }

    #[test]
    fn times_are_read_as_docker_reads_them() {
        let since = |text: &str| Asked::parse(&format!("since={text}"), NOW).map(|a| a.since);
        for (text, expected) in [
            ("999999999", Duration::from_secs(999_999_999)),
            ("999999999.5", Duration::new(999_999_999, 500_000_000)),
            ("2001-09-09T01:46:39Z", Duration::from_secs(999_999_999)),
            ("2001-09-09T03:46:39.25%2B02:00", Duration::new(999_999_999, 250_000_000)),
            ("90s", NOW - Duration::from_secs(90)),
            ("1h30m", NOW - Duration::from_secs(5400)),
            ("1d", NOW - Duration::from_secs(86400)),
            ("999999d", Duration::ZERO),
        ] {
            assert_eq!(since(text), Ok(Some(expected)), "{text}");
        }
        for text in ["10", "1.0000000001", "1m1h", "1m1m", "m", "1", "99999999999999999999d", "1x"]
        {
            let read = since(text);
            assert!(read.is_err() || text.parse::<u64>().is_ok(), "{text}: {read:?}");
        }
    }
}
