//! The README shows the program's own words, so that it cannot lag behind.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::command;

/// Line before the block that holds `dstyx --help`.
const BEGIN: &str = "<!-- dstyx --help -->";

/// The fenced block behind the mark equals the output.
pub fn check(root: &Path, dstyx: Option<&Path>) -> Vec<String> {
    let readme = match fs::read_to_string(root.join("README.md")) {
        Ok(text) => text,
        Err(error) => return vec![format!("README.md: {error}")],
    };
    let mut help = match dstyx {
        Some(program) => Command::new(program),
        None => command::cargo(&["run", "--quiet", "--package", "cli", "--bin", "dstyx", "--"]),
    };
    help.arg("--help");
    let printed = match command::capture(&mut help) {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => return vec![error],
    };
    match block(&readme) {
        Some(shown) if shown.trim() == printed.trim() => Vec::new(),
        Some(_) => {
            vec!["README.md: the block of `dstyx --help` differs from what it prints".to_owned()]
        }
        None => vec![format!("README.md: no fenced block behind {BEGIN}")],
    }
}

fn block(readme: &str) -> Option<&str> {
    let (_, behind) = readme.split_once(BEGIN)?;
    let (_, fenced) = behind.split_once("```text\n")?;
    fenced.split_once("\n```").map(|(text, _)| text)
}
