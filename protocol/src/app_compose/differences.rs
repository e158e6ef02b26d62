//! In which keys two app-compose files differ: what to tell a person whose file is not the one that
//! was measured.
//!
//! One of the two comes from the guest, so names and values are cut short and escaped. It decides
//! nothing: the digests of both files have already said that they differ.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::MAX_BYTES;
use crate::strict_json;

/// More differences than this tell a person no more.
const MAX_SHOWN: usize = 5;
/// Characters of a shown name, value or line.
const MAX_CHARACTERS: usize = 80;
/// The keys whose value is worth looking into.
const COMPOSE_FILE: &str = "docker_compose_file";
const FILES: &str = "files";

/// One sentence a difference, at most some; never none.
pub fn differences(stated: &[u8], measured: &[u8]) -> Vec<String> {
    let object = |bytes| {
        strict_json::parse::<Value>(bytes, MAX_BYTES).ok().and_then(|value| match value {
            Value::Object(keys) => Some(keys),
            _ => None,
        })
    };
    let (Some(stated), Some(measured)) = (object(stated), object(measured)) else {
        return vec!["one of the files is not a JSON object".to_owned()];
    };
    let mut found = of_keys(&stated, &measured);
    if found.is_empty() {
        return vec![
            "all keys have equal values: spaces, their order or spelling differ".to_owned(),
        ];
    }
    if found.len() > MAX_SHOWN {
        let more = found.len() - MAX_SHOWN;
        found.truncate(MAX_SHOWN);
        found.push(format!("{more} more"));
    }
    found
}

fn of_keys(stated: &Map<String, Value>, measured: &Map<String, Value>) -> Vec<String> {
    let names: BTreeSet<&String> = stated.keys().chain(measured.keys()).collect();
    let differing = names.into_iter().filter(|name| stated.get(*name) != measured.get(*name));
    differing
        .flat_map(|name| match (name.as_str(), stated.get(name), measured.get(name)) {
            (COMPOSE_FILE, Some(Value::String(stated)), Some(Value::String(measured))) => {
                vec![of_lines(stated, measured)]
            }
            (FILES, Some(Value::Object(stated)), Some(Value::Object(measured))) => {
                of_files(stated, measured)
            }
            (_, stated, measured) => {
                vec![format!("{}: {}, stated {}", shown(name), value(measured), value(stated))]
            }
        })
        .collect()
}

/// The first line that differs.
fn of_lines(stated: &str, measured: &str) -> String {
    let mut lines = (stated.split('\n'), measured.split('\n'));
    let mut number = 0;
    loop {
        number += 1;
        match (lines.0.next(), lines.1.next()) {
            (Some(stated), Some(measured)) if stated == measured => {}
            (stated, measured) => {
                let line = |line: Option<&str>| {
                    line.map_or("nothing".to_owned(), |line| shown(line.trim_start()))
                };
                return format!(
                    "{COMPOSE_FILE}, line {number}: {}, stated {}",
                    line(measured),
                    line(stated)
                );
            }
        }
    }
}

fn of_files(stated: &Map<String, Value>, measured: &Map<String, Value>) -> Vec<String> {
    let both: BTreeMap<&String, [Option<&Value>; 2]> = stated
        .keys()
        .chain(measured.keys())
        .map(|path| (path, [stated.get(path), measured.get(path)]))
        .collect();
    let differing = both.into_iter().filter(|(_, [stated, measured])| stated != measured);
    let sentence = |(path, contents): (&String, [Option<&Value>; 2])| {
        let what = match contents {
            [Some(_), Some(_)] => "other content",
            [Some(_), None] => "only stated",
            _ => "only measured",
        };
        format!("{FILES}, {}: {what}", shown(path))
    };
    differing.map(sentence).collect()
}

fn value(value: Option<&Value>) -> String {
    value.map_or("absent".to_owned(), |value| match value {
        Value::String(text) => shown(text),
        other => cut(&other.to_string()),
    })
}

/// Quoted and escaped, so that nothing of it commands a terminal.
fn shown(text: &str) -> String {
    cut(&format!("{text:?}"))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARACTERS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AppFiles, NewApp, generate};
    use super::*;

    fn changed(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let files = AppFiles::from([("web/a".to_owned(), b"a".to_vec())]);
        let docker_compose_file = "services:\n  web:\n    image: a@sha256:00\n";
        let app = NewApp::of("app", docker_compose_file, &files);
        let stated = app.generate().unwrap();
        let mut measured: Value = serde_json::from_slice(&stated).unwrap();
        change(&mut measured);
        differences(&stated, measured.to_string().as_bytes())
    }

    #[test]
    fn a_byte_of_the_compose_file_is_found_by_its_line() {
        let found = changed(|measured| {
            measured["docker_compose_file"] = "services:\n  web:\n    image: a@sha256:01\n".into();
        });
        assert_eq!(
            found,
            [r#"docker_compose_file, line 3: "image: a@sha256:01", stated "image: a@sha256:00""#]
        );
    }

    #[test]
    fn other_keys_are_named_with_both_values() {
        let found = changed(|measured| {
            measured["public_logs"] = true.into();
            measured["danger_privileged"] = true.into();
        });
        assert_eq!(
            found,
            [r#""danger_privileged": true, stated absent"#, r#""public_logs": true, stated false"#]
        );
    }

    #[test]
    fn files_are_named_by_their_path() {
        let found =
            changed(|measured| measured["files"] = serde_json::json!({ "web/a": "Yg==", "b": "" }));
        assert_eq!(found, [r#"files, "b": only measured"#, r#"files, "web/a": other content"#]);
    }

    #[test]
    fn what_the_guest_sends_is_cut_and_escaped() {
        let found = changed(|measured| {
            for number in 0..9 {
                measured[format!("\u{1b}[31m{number}{}", "x".repeat(500))] = 1.into();
            }
        });
        assert_eq!((found.len(), found.last().unwrap().as_str()), (6, "4 more"));
        assert!(found.iter().all(|line| !line.contains('\u{1b}') && line.len() < 200), "{found:?}");
    }

    #[test]
    fn equal_values_written_otherwise_are_told_too() {
        let stated = generate("app", "services: {}\n").unwrap();
        let spaced = [b" ", &stated[..]].concat();
        assert!(differences(&stated, &spaced)[0].contains("spaces"));
        assert!(differences(&stated, b"[]")[0].contains("not a JSON object"));
    }
}
