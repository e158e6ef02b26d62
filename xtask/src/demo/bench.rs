//! `dstyx` in a directory of its own, as custodians and owners of programs type it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The command, for a user without any other state.
pub struct Dstyx {
    program: PathBuf,
    /// The program pad-runner.
    pub runner: PathBuf,
    directory: PathBuf,
    state: tempfile::TempDir,
}

/// What a local run ended with.
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
    pub fn new(program: PathBuf, directory: PathBuf, runner: PathBuf) -> Result<Self, String> {
        let state = tempfile::tempdir().map_err(|error| format!("a directory: {error}"))?;
        Ok(Self { program, runner, directory, state })
    }

    /// A file of the directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Runs `dstyx pad WORDS`, which must end well.
    pub fn pad(&self, command: &str) -> Result<Value, String> {
        let (status, document, told) =
            self.start(&command.split_whitespace().collect::<Vec<_>>())?;
        if status == Some(0) { Ok(document) } else { Err(format!("dstyx pad {command}: {told}")) }
    }

    /// Runs `dstyx pad run WORDS` at a time, with outputs in a new directory; whether all was
    /// allowed is for the caller to say.
    pub fn run(&self, command: &str, out: &str, now: u64) -> Result<Run, String> {
        let now = now.to_string();
        let mut arguments: Vec<&str> =
            std::iter::once("run").chain(command.split_whitespace()).collect();
        let runner = self.runner.display().to_string();
        arguments.extend(["--out", out, "--at", &now, "--runner", &runner]);
        let (status, document, told) = self.start(&arguments)?;
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

    fn start(&self, arguments: &[&str]) -> Result<(Option<i32>, Value, String), String> {
        let mut dstyx = Command::new(&self.program);
        dstyx.args(["--json", "pad"]).args(arguments).current_dir(&self.directory);
        for variable in ["XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"] {
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
