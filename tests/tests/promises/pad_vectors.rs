//! Promise: another implementation of docs/pad-format.md opens the Pads that ours makes, and
//! refuses what ours refuses, for the same reason.
//!
//! It is a Python program beside the vectors, which uses the standard library alone and runs by the
//! interpreter of tests.lock.

use tests::lab;

#[test]
fn a_reader_in_another_language_agrees_on_every_vector() {
    let python = lab::tools("image-python");
    let vectors = lab::checkout().join("tests/vectors/pads");
    let mut reader = lab::tool(&python, "usr/bin/python3.13");
    reader.env("PYTHONHOME", python.join("usr")).env("PYTHONDONTWRITEBYTECODE", "1");
    reader.args([vectors.join("reader.py"), vectors.join("vectors.json")]);
    let output = reader.output().unwrap();
    let (found, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}");
    // As many as the file has: a reader that reads none agrees with everything.
    assert_eq!(found.trim_end(), "8 Pads opened, 35 refused");
}
