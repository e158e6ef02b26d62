//! Promise: what docs/threats.md says that a test shows, a test of that name is there to show.

use std::collections::BTreeSet;
use std::fs;

use tests::lab;

/// A page that names fewer was cut.
const LEAST_NAMES: usize = 90;

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_file_and_every_test_of_the_tables_exists() {
    let page = fs::read_to_string(lab::checkout().join("docs/threats.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| act |"));
    let mut names = BTreeSet::new();
    let mut missing = Vec::new();
    for row in rows {
        let cells: Vec<_> = row.split(" | ").collect();
        assert_eq!(cells.len(), 3, "{row}");
        let (mut file, mut source) = ("", String::new());
        for quoted in quoted(cells[2]) {
            if quoted.ends_with(".rs") {
                file = quoted;
                source = fs::read_to_string(lab::checkout().join(file)).unwrap_or_default();
                missing.extend(source.is_empty().then(|| file.to_owned()));
            } else {
                names.insert((file, quoted));
                let found = source.contains(&format!("fn {quoted}("));
                missing.extend((!found).then(|| format!("{file}: {quoted}")));
            }
        }
        assert!(!file.is_empty(), "no test: {row}");
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(names.len() >= LEAST_NAMES, "{} names", names.len());
}
