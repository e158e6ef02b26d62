//! Debian's order of versions (deb-version(7)).

use std::cmp::Ordering;

/// Compares two versions `[epoch:]upstream[-revision]`.
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    let ((epoch_a, rest_a), (epoch_b, rest_b)) = (split_epoch(a), split_epoch(b));
    let ((up_a, rev_a), (up_b, rev_b)) = (split_revision(rest_a), split_revision(rest_b));
    compare_digits(epoch_a, epoch_b)
        .then_with(|| compare_part(up_a, up_b))
        .then_with(|| compare_part(rev_a, rev_b))
}

fn split_epoch(version: &str) -> (&str, &str) {
    version.split_once(':').unwrap_or(("0", version))
}

fn split_revision(version: &str) -> (&str, &str) {
    version.rsplit_once('-').unwrap_or((version, "0"))
}

/// Alternates between runs without digits and runs of digits.
fn compare_part(mut a: &str, mut b: &str) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (text_a, rest_a) = split_run(a, |c| !c.is_ascii_digit());
        let (text_b, rest_b) = split_run(b, |c| !c.is_ascii_digit());
        let (number_a, rest_a) = split_run(rest_a, |c| c.is_ascii_digit());
        let (number_b, rest_b) = split_run(rest_b, |c| c.is_ascii_digit());
        let order = compare_text(text_a, text_b).then_with(|| compare_digits(number_a, number_b));
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    Ordering::Equal
}

fn split_run(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

/// `~` sorts before the end, letters before everything else.
fn compare_text(a: &str, b: &str) -> Ordering {
    let weight = |text: &str, at: usize| match text.as_bytes().get(at) {
        Some(b'~') => -1,
        None => 0,
        Some(c) if c.is_ascii_alphabetic() => i32::from(*c),
        Some(c) => i32::from(*c) + 256,
    };
    (0..a.len().max(b.len()))
        .map(|at| weight(a, at).cmp(&weight(b, at)))
        .find(|order| *order != Ordering::Equal)
        .unwrap_or(Ordering::Equal)
}

fn compare_digits(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_as_debian_does() {
        // Each line is ascending; the rules are those of deb-version(7).
        let chains: [&[&str]; 5] = [
            &["1.0~~", "1.0~~a", "1.0~", "1.0", "1.0-1", "1.0a"],
            &["7.2.6-1~bpo13+1", "7.2.11-1~bpo13+1", "7.2.12-1~bpo13+1", "7.2.12-1"],
            &["2025.02-8", "2025.02-8+deb13u1", "2025.02-9"],
            &["9:1", "10:0"],
            &["1.96.0+dfsg1-1~deb13u1", "1.96.0+dfsg1-1~deb13u1+b1"],
        ];
        for chain in chains {
            for pair in chain.windows(2) {
                assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
                assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
            }
        }
        assert_eq!(compare("0:1.00-0", "1.0"), Ordering::Equal);
    }
}
