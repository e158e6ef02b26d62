//! `dstyx` in a directory of its own, as custodians and owners of programs type it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::command;

/// What a guest says that has not fetched a program of its app.
const NOT_FETCHED: &str = "no program of a service";
/// How long that may take.
const FETCHED_WITHIN: Duration = Duration::from_secs(60);
/// Between two questions.
const POLL: Duration = Duration::from_secs(1);

/// The command, for a user without any other state.
pub struct Dstyx {
    program: PathBuf,
    directory: PathBuf,
    state: tempfile::TempDir,
}

/// What a run ended with.
pub struct Run {
    /// What left, by its kind and its file or text.
    pub outputs: Vec<Left>,
    /// Every refusal.
    pub refusals: Vec<String>,
}

/// What left a run.
pub enum Left {
    /// A Pad, in this file of the directory.
    Pad(String),
    /// A result in plain.
    Result(String),
}

impl Dstyx {
    /// In this directory.
    pub fn new(program: PathBuf, directory: PathBuf) -> Result<Self, String> {
        let state = tempfile::tempdir().map_err(|error| format!("a directory: {error}"))?;
        Ok(Self { program, directory, state })
    }

    /// A file of the directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Runs `dstyx WORDS`, which must end well.
    pub fn does(&self, command: &str) -> Result<Value, String> {
        self.does_in(&self.directory, command)
    }

    /// The same in the checkout, of which images are built; files are named by absolute paths.
    pub fn does_in_checkout(&self, command: &str) -> Result<Value, String> {
        self.does_in(&command::root(), command)
    }

    fn does_in(&self, directory: &Path, command: &str) -> Result<Value, String> {
        let arguments: Vec<_> = command.split_whitespace().collect();
        let (status, document, told) = self.start(directory, &arguments)?;
        match (status, document) {
            (Some(0), document) => Ok(document),
            (_, Value::Null) => Err(format!("dstyx {command}: {told}")),
            (_, document) => Err(format!("dstyx {command}: {told}{document}")),
        }
    }

    /// Runs `dstyx pad WORDS`, which must end well.
    pub fn pad(&self, command: &str) -> Result<Value, String> {
        self.does(&format!("pad {command}"))
    }

    /// Runs `dstyx pad run WORDS` with the options of a place, and outputs in a new directory;
    /// whether all was allowed is for the caller to say.
    pub fn run(&self, command: &str, out: &str, options: &[String]) -> Result<Run, String> {
        let mut arguments = vec!["pad", "run"];
        arguments.extend(command.split_whitespace());
        arguments.extend(["--out", out]);
        arguments.extend(options.iter().map(String::as_str));
        let begun = Instant::now();
        let (status, document, told) = loop {
            let ended = self.start(&self.directory, &arguments)?;
            // Programs of an app are fetched while its containers run already.
            if !ended.2.contains(NOT_FETCHED) || begun.elapsed() > FETCHED_WITHIN {
                break ended;
            }
            std::thread::sleep(POLL);
        };
        if !matches!(status, Some(0 | 1)) {
            return Err(format!("dstyx pad run {command}: {told}"));
        }
        let texts = |key: &str| document[key].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut refusals: Vec<_> = texts("refusals").iter().map(text).collect();
        refusals.extend(document["ended"].as_str().map(str::to_owned));
        let left = |output: &Value| match output["kind"].as_str() {
            Some("Pad") => Left::Pad(text(&output["file"])),
            _ => Left::Result(text(&output["text"])),
        };
        Ok(Run { outputs: texts("outputs").iter().map(left).collect(), refusals })
    }

    /// The cache is that of this user: it has what was built, and nothing that counts here.
    fn start(
        &self,
        directory: &Path,
        arguments: &[&str],
    ) -> Result<(Option<i32>, Value, String), String> {
        let mut dstyx = Command::new(&self.program);
        dstyx.arg("--json").args(arguments).current_dir(directory);
        for variable in ["XDG_STATE_HOME", "XDG_DATA_HOME"] {
            dstyx.env(variable, self.state.path());
        }
        let output = dstyx.output().map_err(|error| format!("{dstyx:?}: {error}"))?;
        let document = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok((output.status.code(), document, told))
    }
}

/// Copies the files of a directory whose names `take` takes.
pub fn copy(from: &Path, to: &Path, take: impl Fn(&str) -> bool) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", from.display());
    for entry in std::fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if name.to_str().is_some_and(&take) {
            std::fs::copy(entry.path(), to.join(name)).map_err(failed)?;
        }
    }
    Ok(())
}
