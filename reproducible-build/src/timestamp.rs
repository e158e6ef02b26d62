//! Times as `YYYYMMDDTHHMMSSZ`, the form in which snapshot archives name their states.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds in a day of Unix time.
const DAY: u64 = 86_400;

/// Now.
pub(crate) fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format(since.as_secs())
}

/// From seconds since 1970; the calendar is Howard Hinnant's `civil_from_days`.
fn format(secs: u64) -> String {
    let (days, rest) = (secs / DAY + 719_468, secs % DAY);
    let era_day = days % 146_097;
    let era_year = (era_day - era_day / 1_460 + era_day / 36_524 - era_day / 146_096) / 365;
    let year_day = era_day - (365 * era_year + era_year / 4 - era_year / 100);
    let shifted_month = (5 * year_day + 2) / 153;
    let day = year_day - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12 + 1;
    let year = days / 146_097 * 400 + era_year + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// To seconds since 1970; nothing for a text that is no time from 1970 on.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let number = |range: Range<usize>| text.get(range)?.parse::<u64>().ok();
    let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
    let (hour, minute, second) = (number(9..11)?, number(11..13)?, number(13..15)?);
    let secs = days_from_civil(year, month, day)? * DAY + hour * 3600 + minute * 60 + second;
    // Whatever the ranges let through does not come back as it was.
    (format(secs) == text).then_some(secs)
}

/// Howard Hinnant's `days_from_civil`.
fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let (era, era_year) = (year / 400, year % 400);
    let year_day = (153 * ((month + 9) % 12) + 2) / 5 + day.checked_sub(1)?;
    let era_day = era_year * 365 + era_year / 4 - era_year / 100 + year_day;
    (era * 146_097 + era_day).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_follow_the_calendar_there_and_back() {
        for (secs, text) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (1_798_761_599, "20261231T235959Z"),
        ] {
            assert_eq!(format(secs), text);
            assert_eq!(parse(text), Some(secs));
        }
        for bad in [
            "",
            "20260230T000000Z",
            "20261301T000000Z",
            "2026-01-01",
            "20260101T240000Z",
            "20260101T000000",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
