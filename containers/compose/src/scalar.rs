//! Single values of a meaning: booleans, numbers, sizes and times, as Docker writes them.
//!
//! Quotes do not matter: compose files are full of `"1"` and `"true"`, and a variable always gives
//! text.

use std::str::FromStr;
use std::time::Duration;

use super::field::{Field, Findings};

/// A longer wait is a mistake of the unit.
const MAX_DURATION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// `true` or `false`.
pub(super) fn boolean(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<bool> {
    match field.text(findings)?.as_str() {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        text => field.invalid("boolean", text, "write true or false", findings),
    }
}

/// A whole number that `fits`, said as `rule`.
pub(super) fn number<T: FromStr + Copy>(
    field: &Field<'_>,
    findings: &mut Findings<'_>,
    fits: impl Fn(T) -> bool,
    rule: &'static str,
) -> Option<T> {
    let text = field.text(findings)?;
    match digits(text.strip_prefix('-').unwrap_or(&text)).and_then(|_| text.parse().ok()) {
        Some(number) if fits(number) => Some(number),
        _ => field.invalid("number", &text, rule, findings),
    }
}

/// A size in bytes: a number, with a fraction if it likes, and `b`, `k`, `m`, `g` or `t`, `kb` and
/// so on, powers of 1024.
pub(super) fn bytes(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<u64> {
    let text = field.text(findings)?;
    match size(&text, 1024) {
        Some(bytes) if bytes > 0 => Some(bytes),
        _ => field.invalid(
            "size",
            &text,
            "a number above 0 and b, k, m, g or t, such as 512m",
            findings,
        ),
    }
}

/// The same in powers of `base`.
pub(super) fn size(text: &str, base: u128) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let exponent = match unit.trim_start_matches(' ').to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        _ => return None,
    };
    scaled(number, base.pow(exponent))
}

/// Thousandths: `0.5` is 500.
pub(super) fn thousandths(text: &str) -> Option<u64> {
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    if fraction.len() > 3 { None } else { scaled(text, 1000) }
}

/// A time such as `1m30s`, at most a week.
pub(super) fn duration(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<Duration> {
    let text = field.text(findings)?;
    match parse_duration(&text) {
        Some(duration) if duration <= MAX_DURATION => Some(duration),
        _ => {
            let rule = "numbers with us, ms, s, m or h, such as 1m30s, at most 168h";
            field.invalid("time", &text, rule, findings)
        }
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut total) = (text, 0u64);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let nanoseconds = match unit {
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        total = total.checked_add(scaled(number, nanoseconds)?)?;
        rest = tail;
    }
    (!text.is_empty()).then(|| Duration::from_nanos(total))
}

/// `number`, digits with at most one point and nine digits after it, times `factor`, rounded down.
fn scaled(number: &str, factor: u128) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.len() > 9 {
        return None;
    }
    let whole = u128::from(digits(whole)?).checked_mul(factor)?;
    let part =
        u128::from(digits(fraction)?) * factor / 10u128.pow(u32::try_from(fraction.len()).ok()?);
    u64::try_from(whole.checked_add(part)?).ok()
}

/// Decimal digits only.
fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        for (text, expected) in [
            ("1024", Some(1024)),
            ("64m", Some(64 << 20)),
            ("1.5G", Some(3 << 29)),
            ("10 kb", Some(10 << 10)),
            ("2KiB", Some(2048)),
            ("", None),
            ("m", None),
            ("-1", None),
            ("1x", None),
            ("1.2.3", None),
            ("99999999999t", None),
        ] {
            assert_eq!(size(text, 1024), expected, "{text}");
        }
        assert_eq!(size("10m", 1000), Some(10_000_000));
    }

    #[test]
    fn times_have_units() {
        for (text, expected) in [
            ("90s", Some(Duration::from_secs(90))),
            ("1m30s", Some(Duration::from_secs(90))),
            ("1.5s", Some(Duration::from_millis(1500))),
            ("250ms", Some(Duration::from_millis(250))),
            ("0", Some(Duration::ZERO)),
            ("", None),
            ("30", None),
            ("s", None),
            ("1d", None),
            ("1s2", None),
            ("-1s", None),
            ("99999999999999h", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }

    #[test]
    fn processors_have_three_digits() {
        for (text, expected) in [
            ("0.5", Some(500)),
            ("2", Some(2000)),
            ("0.001", Some(1)),
            ("0.0001", None),
            ("x", None),
        ] {
            assert_eq!(thousandths(text), expected, "{text}");
        }
    }
}
