//! Two event lists side by side: which events moved, are missing, are new, or measure something
//! else.

use protocol::digest::Sha384Digest;

use super::cause::Cause;
use crate::event::Event;

/// One line of two lists side by side: positions from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aligned {
    /// The same event in both.
    Both(usize, usize),
    /// Only in the first list.
    First(usize),
    /// Only in the second list.
    Second(usize),
}

/// Two lists side by side, along a longest common subsequence; lists are short, the work is their
/// product.
pub fn align(first: &[Sha384Digest], second: &[Sha384Digest]) -> Vec<Aligned> {
    let (mut at, mut other) = (0, 0);
    let mut lines = Vec::new();
    for (next, next_other) in common(first, second).into_iter().chain([(first.len(), second.len())])
    {
        lines.extend((at..next).map(Aligned::First));
        lines.extend((other..next_other).map(Aligned::Second));
        if next < first.len() {
            lines.push(Aligned::Both(next, next_other));
        }
        (at, other) = (next + 1, next_other + 1);
    }
    lines
}

/// What has to change in `expected` to become `logged`.
///
/// Common events keep their order along a longest common subsequence; an event that is taken out in
/// one place and put in at another has moved; one that is taken out and replaced in its place was
/// changed.
pub(super) fn differences(expected: &[Event], logged: &[Sha384Digest]) -> Vec<Cause> {
    let digests: Vec<Sha384Digest> = expected.iter().map(|event| event.digest).collect();
    let kept = common(&digests, logged);
    let mut missing: Vec<usize> =
        (0..expected.len()).filter(|at| kept.iter().all(|(kept, _)| kept != at)).collect();
    let mut extra: Vec<usize> =
        (0..logged.len()).filter(|at| kept.iter().all(|(_, kept)| kept != at)).collect();
    let name = |at: usize| expected[at].name.to_string();

    let mut moved = Vec::new();
    missing.retain(|at| {
        match extra.iter().position(|logs| logged[*logs] == expected[*at].digest) {
            Some(found) => {
                extra.remove(found);
                moved.push(name(*at));
                false
            }
            None => true,
        }
    });
    let mut causes = Vec::new();
    if !moved.is_empty() {
        causes.push(Cause::Order { moved });
    }
    for at in missing {
        match extra.iter().position(|logs| same_place(&kept, at, *logs)) {
            Some(found) if !repeats(expected, &logged[extra[found]]) => {
                extra.remove(found);
                causes.push(Cause::Changed { index: at, name: name(at) });
            }
            _ => causes.push(Cause::Missing { index: at, name: name(at) }),
        }
    }
    causes.extend(extra.into_iter().map(|index| {
        let repeated = expected.iter().find(|event| event.digest == logged[index]);
        Cause::Extra { index, repeats: repeated.map(|event| event.name.to_string()) }
    }));
    causes
}

fn repeats(expected: &[Event], digest: &Sha384Digest) -> bool {
    expected.iter().any(|event| event.digest == *digest)
}

/// Whether the same kept events stand before both.
fn same_place(kept: &[(usize, usize)], expected: usize, logged: usize) -> bool {
    kept.iter().all(|(before, found)| (*before < expected) == (*found < logged))
}

/// Positions of a longest common subsequence in both lists, which are short.
fn common(expected: &[Sha384Digest], logged: &[Sha384Digest]) -> Vec<(usize, usize)> {
    let width = logged.len() + 1;
    let mut longest = vec![0usize; (expected.len() + 1) * width];
    for at in (0..expected.len()).rev() {
        for found in (0..logged.len()).rev() {
            longest[at * width + found] = if expected[at] == logged[found] {
                1 + longest[(at + 1) * width + found + 1]
            } else {
                longest[(at + 1) * width + found].max(longest[at * width + found + 1])
            };
        }
    }
    let (mut at, mut found, mut kept) = (0, 0, Vec::new());
    while at < expected.len() && found < logged.len() {
        if expected[at] == logged[found] {
            kept.push((at, found));
            (at, found) = (at + 1, found + 1);
        } else if longest[(at + 1) * width + found] >= longest[at * width + found + 1] {
            at += 1;
        } else {
            found += 1;
        }
    }
    kept
}

/// Lists that differ from `digests` by one event left out, moved or repeated, each with what was
/// done.
pub(super) fn single_edits(expected: &[Event]) -> impl Iterator<Item = (Cause, Vec<Sha384Digest>)> {
    let digests: Vec<Sha384Digest> = expected.iter().map(|event| event.digest).collect();
    let count = digests.len();
    let name = |at: usize| expected[at].name.to_string();
    let dropped = (0..count).map({
        let digests = digests.clone();
        move |at| {
            let mut edited = digests.clone();
            edited.remove(at);
            (Cause::Missing { index: at, name: name(at) }, edited)
        }
    });
    let moved = pairs(count, count).filter(|(from, to)| from != to).map({
        let digests = digests.clone();
        move |(from, to)| {
            let mut edited = digests.clone();
            let event = edited.remove(from);
            edited.insert(to, event);
            (Cause::Order { moved: vec![name(from)] }, edited)
        }
    });
    let swapped = pairs(count, count).filter(|(one, other)| one + 1 < *other).map({
        let digests = digests.clone();
        move |(one, other)| {
            let mut edited = digests.clone();
            edited.swap(one, other);
            (Cause::Order { moved: vec![name(one), name(other)] }, edited)
        }
    });
    // Before or behind itself is the same list.
    let repeated =
        pairs(count, count + 1).filter(|(event, at)| event != at).map(move |(event, at)| {
            let mut edited = digests.clone();
            edited.insert(at, digests[event]);
            (Cause::Extra { index: at, repeats: Some(name(event)) }, edited)
        });
    dropped.chain(moved).chain(swapped).chain(repeated)
}

fn pairs(firsts: usize, seconds: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..firsts).flat_map(move |first| (0..seconds).map(move |second| (first, second)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Origin, Register};

    fn events(names: &str) -> Vec<Event> {
        let event = |name: char| Event {
            register: Register::Rtmr0,
            name: name.to_string().into(),
            event_type: 0,
            digest: digest(name),
            preimage: "a letter".into(),
            origin: Origin::Computed,
        };
        names.chars().map(event).collect()
    }

    fn digest(name: char) -> Sha384Digest {
        Sha384Digest::of(name.to_string().as_bytes())
    }

    fn found(expected: &str, logged: &str) -> Vec<String> {
        let logged: Vec<_> = logged.chars().map(digest).collect();
        differences(&events(expected), &logged).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_kind_of_difference_is_named_once() {
        assert_eq!(found("abcd", "abcd"), [""; 0]);
        assert_eq!(found("abcd", "acd"), ["event 1 (b) is missing"]);
        assert_eq!(found("abcd", "abbcd"), ["event 2 measures b a second time"]);
        assert_eq!(found("abcd", "abxcd"), ["event 2 is one that was not expected"]);
        assert_eq!(
            found("abcd", "axcd"),
            ["event 1 (b) measures something else, which is of no known neighbour"]
        );
        assert_eq!(found("abcd", "bcda"), ["its events are in another order: a moved"]);
        assert_eq!(found("abcd", "adcb").len(), 1);
        assert_eq!(found("abcd", "xbcda").len(), 2);
    }

    #[test]
    fn two_lists_stand_side_by_side() {
        use Aligned::{Both, First, Second};
        let digests = |names: &str| names.chars().map(digest).collect::<Vec<_>>();
        assert_eq!(
            align(&digests("abc"), &digests("axc")),
            [Both(0, 0), First(1), Second(1), Both(2, 2)]
        );
        assert_eq!(align(&digests("ab"), &digests("")), [First(0), First(1)]);
        assert_eq!(align(&digests(""), &digests("")), []);
    }

    #[test]
    fn every_single_edit_is_found_again_as_one_cause() {
        let expected = events("abcde");
        for (cause, edited) in single_edits(&expected) {
            let again = differences(&expected, &edited);
            assert_eq!(again.len(), 1, "{cause}: {again:?}");
            assert_eq!(
                std::mem::discriminant(&again[0]),
                std::mem::discriminant(&cause),
                "{cause}"
            );
        }
    }
}
