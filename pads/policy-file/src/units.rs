//! Shares and periods as people write them, without a fraction that is lost.

use pad_rules::BASIS_POINTS;

/// A percentage has two digits behind its point at most.
const DIGITS: usize = 2;
/// Units of time, the largest first.
const UNITS: [(&str, u64); 5] =
    [("week", 604_800), ("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)];

/// The share of `60 %`, `33.33%`, or of the digits alone where the value is a number.
pub(crate) fn share(text: &str, needs_sign: bool) -> Option<u64> {
    let digits = match text.strip_suffix('%') {
        Some(digits) => digits.strip_suffix(' ').unwrap_or(digits),
        None if !needs_sign => text,
        None => return None,
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let has_point = digits.contains('.');
    if whole.is_empty()
        || whole.len() > 3
        || has_point == fraction.is_empty()
        || fraction.len() > DIGITS
        || !is_number(whole)
        || !is_number(fraction)
    {
        return None;
    }
    let basis_points: u64 = format!("{whole}{fraction:0<DIGITS$}").parse().ok()?;
    // 0.6 may be meant as sixty percent; with a sign it cannot.
    let is_clear = needs_sign || basis_points == 0 || basis_points >= 100;
    (is_clear && basis_points <= BASIS_POINTS).then_some(basis_points)
}

/// The one text of a share.
pub(crate) fn share_text(basis_points: u64) -> String {
    let (whole, fraction) = (basis_points / 100, basis_points % 100);
    if fraction == 0 {
        format!("{whole} %")
    } else if fraction % 10 == 0 {
        format!("{whole}.{} %", fraction / 10)
    } else {
        format!("{whole}.{fraction:02} %")
    }
}

/// Uses and seconds of `10 per minute` or `5 per 10 minutes`.
pub(crate) fn limit(text: &str) -> Option<(u64, u64)> {
    let parts: Vec<&str> = text.split(' ').collect();
    let (uses, count, unit) = match parts[..] {
        [uses, "per", unit] => (number(uses)?, 1, unit),
        [uses, "per", count, unit] => (number(uses)?, number(count)?, unit),
        _ => return None,
    };
    let is_unit = |name: &str| unit == name || unit.strip_suffix('s') == Some(name);
    let (_, seconds) = UNITS.iter().find(|(name, _)| is_unit(name))?;
    Some((uses, count.checked_mul(*seconds)?))
}

/// The one text of a limit.
pub(crate) fn limit_text(uses: u64, period_secs: u64) -> String {
    let fits = |(_, seconds): &&(&str, u64)| period_secs.is_multiple_of(*seconds);
    let (unit, seconds) = UNITS.iter().find(fits).unwrap_or(&("second", 1));
    match period_secs / seconds {
        1 => format!("{uses} per {unit}"),
        count => format!("{uses} per {count} {unit}s"),
    }
}

fn number(text: &str) -> Option<u64> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_percentage_with_two_digits_behind_its_point() {
        for (text, expected) in
            [("60 %", 6000), ("60%", 6000), ("33.33 %", 3333), ("0.5%", 50), ("100 %", 10_000)]
        {
            assert_eq!(share(text, true), Some(expected), "{text}");
        }
        assert_eq!(share("60.0", false), Some(6000));
        assert_eq!(share("0.0", false), Some(0));
        for text in [
            "60", "60  %", "100.01 %", "-1 %", "1e1 %", "33.333 %", ".5 %", "5. %", "%", "", "６ %",
        ] {
            assert_eq!(share(text, true), None, "{text}");
        }
        for text in ["0.6", "0.01", "inf", "nan", "1e2", "6_0.0", "+60.0"] {
            assert_eq!(share(text, false), None, "{text}");
        }
        for basis_points in 0..=BASIS_POINTS {
            assert_eq!(share(&share_text(basis_points), true), Some(basis_points));
        }
    }

    #[test]
    fn a_limit_is_uses_per_period() {
        for (text, expected) in [
            ("10 per minute", (10, 60)),
            ("5 per 10 minutes", (5, 600)),
            ("1 per 90 seconds", (1, 90)),
            ("3 per week", (3, 604_800)),
        ] {
            assert_eq!(limit(text), Some(expected), "{text}");
            assert_eq!(limit_text(expected.0, expected.1), text);
        }
        for text in ["10", "10 per", "10 per month", "x per day", "10 per -1 days", "1 per day "] {
            assert_eq!(limit(text), None, "{text}");
        }
        assert_eq!(limit(&format!("1 per {} weeks", u64::MAX)), None);
    }
}
