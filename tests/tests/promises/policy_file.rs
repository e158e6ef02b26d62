//! Promise: `dstyx verify --policy` refuses by the rules of the file, and what is no policy is
//! refused by its key, with a hint.

use std::fs;

use tests::dstyx::{Answer, User};
use tests::samples;

/// Judges a real quote, at a time at which its collateral is good, by this policy.
fn judged(policy: &str) -> Answer {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("policy.toml");
    fs::write(&file, policy).unwrap();
    let [quote, collateral] = samples::V4.map(samples::path);
    let files = [("--evidence", quote), ("--collateral", collateral), ("--policy", file)];
    let files = files
        .into_iter()
        .flat_map(|(option, path)| [option.to_owned(), path.display().to_string()]);
    let arguments = ["verify", "--at", "2025-07-01T00:00:00Z"].map(str::to_owned);
    User::default().dstyx(arguments.into_iter().chain(files))
}

#[test]
fn a_rule_of_the_file_refuses_and_a_kept_one_passes() {
    assert_eq!(judged("version = 1\nfmspcs = [\"b0c06f000000\"]").verdict("fmspc"), "pass");
    let refused = judged("version = 1\nfmspcs = [\"00806f050000\"]");
    assert_eq!((refused.code, refused.verdict("fmspc")), (1, "fail"));
    let nobody = judged("version = 1\nplatform_ids = []");
    assert_eq!((nobody.code, nobody.verdict("platform-id")), (1, "fail"));
    assert!(!judged("version = 1").failed().contains(&"fmspc"));
}

#[test]
fn what_is_no_policy_is_refused_by_its_key_with_a_hint() {
    for (text, said) in [
        ("version = 1\nskip = [\"debug\"]", "skip"),
        ("version = 2", "expected 1"),
        ("version = 1\nfmspcs = [\"b0\"]", "12 hex digits"),
        (
            "version = 1\n[[tolerate_attribute]]\nname = \"DEBUG\"\nuntil = 2027-01-01T00:00:00Z",
            "DEBUG",
        ),
    ] {
        let answer = judged(text);
        assert_eq!(answer.code, 3, "{text}: {answer:?}");
        let shown = format!("{}{}", answer.stderr, answer.json);
        assert!(shown.contains(said) && shown.contains("docs/policy.md"), "{text}: {shown}");
    }
}
