//! What is written is read back, and what is no such line is refused.

use super::*;

/// A file of two lines; the format's test vector, made by `the_vector_is_what_is_written`.
const VECTOR: &str = include_str!("../../../../tests/vectors/gateway/published.jsonl");

fn evidence() -> Evidence {
    Evidence {
        quote: vec![1, 2, 3],
        event_log: Vec::new(),
        nonce: [0; 32],
        claims: protocol::fixtures::claims(),
        app_compose: None,
    }
}

fn entry(subject: Subject) -> Entry {
    let collateral = r#"{"tcb_info":"{}"}"#.to_owned();
    Entry { made_secs: 1_800_000_000, subject, evidence: evidence(), collateral }
}

fn account() -> Subject {
    let account =
        Account::new("https://authority.example/dir", "https://authority.example/1", [7; 32]);
    Subject::Account(account.unwrap())
}

fn leaf() -> Subject {
    let names = ["*.example.org", "example.org"].map(|name| name.parse().unwrap());
    let mut names = names.to_vec();
    names.sort();
    let leaf = Leaf::new("https://authority.example/1".to_owned(), names, vec![9; 91]);
    Subject::Leaf(leaf.unwrap())
}

fn lines() -> Vec<String> {
    let (first, head) = Head::EMPTY.append(&entry(account()));
    let (second, _) = head.append(&entry(leaf()));
    vec![first, second]
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn refused(text: &str, kept: Option<Head>) -> LineError {
    read(text, kept).unwrap_err().what
}

#[test]
fn the_vector_is_what_is_written() {
    assert_eq!(text(&lines()), VECTOR);
    let (entries, head) = read(VECTOR, None).unwrap();
    assert_eq!(entries, [entry(account()), entry(leaf())]);
    assert_eq!(head.lines, 2);
}

#[test]
fn what_quotes_are_made_over_is_stated_in_the_page() {
    // Computed by Python's hashlib over the length-prefixed fields, as docs/verifiable-domain.md
    // says.
    let account = account().report_data().to_string();
    let leaf = leaf().report_data().to_string();
    assert_eq!(
        account,
        include_str!("../../../../tests/vectors/gateway/account-report-data.hex").trim()
    );
    assert_eq!(leaf, include_str!("../../../../tests/vectors/gateway/leaf-report-data.hex").trim());
}

#[test]
fn a_line_that_is_moved_changed_or_missing_is_refused() {
    let [first, second] = lines().try_into().unwrap();
    let swapped = text(&[second.clone(), first.clone()]);
    assert!(matches!(refused(&swapped, None), LineError::Chain { .. }));
    assert!(matches!(refused(&text(std::slice::from_ref(&second)), None), LineError::Chain { .. }));
    let changed = first.replace("1800000000", "1800000001");
    assert!(matches!(refused(&text(&[changed, second]), None), LineError::Chain { .. }));
    let twice = text(&[first.clone(), first]);
    assert!(matches!(refused(&twice, None), LineError::Chain { .. }));
}

#[test]
fn a_file_that_no_longer_has_what_a_reader_saw_is_refused() {
    let (_, head) = read(VECTOR, None).unwrap();
    assert!(read(VECTOR, Some(head)).is_ok() && read(VECTOR, Some(Head::EMPTY)).is_ok());
    let other = Head { last: Sha256Digest([1; 32]), ..head };
    assert_eq!(refused(VECTOR, Some(other)), LineError::Rewritten);
    let shorter = text(&lines()[..1]);
    assert_eq!(refused(&shorter, Some(head)), LineError::Rewritten);
    assert_eq!(refused("", Some(head)), LineError::Rewritten);
}

#[test]
fn unknown_keys_versions_and_spellings_are_refused() {
    let line = lines().remove(1);
    let (_, head) = Head::EMPTY.append(&entry(account()));
    let of = |line: String| head.read(&line).unwrap_err();
    assert!(matches!(of(line.replacen('{', r#"{"x":1,"#, 1)), LineError::Json(_)));
    assert_eq!(of(line.replace(r#"{"version":1,"#, r#"{"version":2,"#)), LineError::Version(2));
    assert!(matches!(of(line.replace("*.example.org", "*.Example.org")), LineError::Leaf(_)));
    assert!(matches!(of(line.replace("*.example.org", "*.example\\n.org")), LineError::Name(_)));
    assert!(matches!(of(line.replace("CQkJ", "CQk*")), LineError::Leaf(_)));
}

#[test]
fn a_leaf_has_names_in_one_order_and_a_key() {
    let new = |names: &[&str], spki: usize| {
        let names = names.iter().map(|name| name.parse().unwrap()).collect();
        Leaf::new("https://a.example/1".to_owned(), names, vec![1; spki])
    };
    assert!(new(&["a.example", "b.example"], 91).is_ok());
    assert!(new(&["b.example", "a.example"], 91).is_err());
    assert!(new(&["a.example", "a.example"], 91).is_err());
    assert!(new(&[], 91).is_err() && new(&["a.example"], 0).is_err());
}
