//! What agent and helper tell each other: JSON, a line each.
//!
//! The agent writes one [`Request`] to the helper's standard input and reads one [`Report`] from its
//! standard output: [`Report::Running`] or [`Report::Failed`]. Everything later goes over the helper's
//! socket: the helper says [`Report::Running`] to whoever connects, then takes [`Control`]s and answers
//! them; the last line is the container's end, which also stands in the report file for an agent that
//! was not there. Both ends are of the same build, so there is no version.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Longer than any line either side writes: paths, the words of a command and the start of its output.
pub const MAX_LINE_BYTES: usize = 1 << 20;

/// The helper's socket in the container's run folder.
pub const SOCKET: &str = "control.sock";

/// The last report, in the container's run folder, once there is one.
pub const REPORT: &str = "report";

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The container's run folder: `config.json`, its root, the socket, the report.
    pub bundle: PathBuf,
    /// Names the container.
    pub id: String,
    /// Where the output goes; nowhere if `None`.
    pub log: Option<LogRequest>,
}

/// Where a container's output goes: `path`, and `path.1`, `path.2` … for what came before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogRequest {
    /// The newest file.
    pub path: PathBuf,
    /// Size at which a file is set aside.
    pub max_bytes: u64,
    /// How many there are at most, 1 and up.
    pub max_files: u32,
}

/// What the agent asks of a running container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Control {
    /// Send this signal to its first process.
    Signal(i32),
    /// Run a command beside it.
    Exec(ExecRequest),
}

/// A command to run in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// Tells answers apart; chosen by the agent.
    pub number: u64,
    /// Program and arguments, at least one.
    pub words: Vec<String>,
    /// Time after which everything that the command started is killed.
    pub timeout_millis: u64,
}

/// What became of the container, or of a command in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case", deny_unknown_fields)]
pub enum Report {
    /// Its first process runs.
    Running {
        /// In the guest's own numbering.
        pid: i32,
    },
    /// It ended by itself.
    Exited {
        /// Its exit code.
        code: i32,
        /// Whether a process of it was killed because its memory was used up.
        oom: bool,
    },
    /// A signal ended it.
    Killed {
        /// Which.
        signal: i32,
        /// Whether a process of it was killed because its memory was used up.
        oom: bool,
    },
    /// It never ran, or could not be watched.
    Failed {
        /// Why, for people.
        message: String,
    },
    /// A command ended.
    Executed {
        /// The number of its request.
        number: u64,
        /// How it ended.
        outcome: ExecOutcome,
    },
}

/// How a command in a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecOutcome {
    /// What became of it.
    pub end: ExecEnd,
    /// The first 4 KiB of what it printed to either stream; bytes that are no UTF-8 are replaced.
    pub output: String,
}

/// What became of a command in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ExecEnd {
    /// It ended by itself.
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// A signal ended it.
    Killed {
        /// Which.
        signal: i32,
    },
    /// It took too long, and was killed with all that it started.
    TimedOut,
    /// It could not be run.
    Failed {
        /// Why, for people.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_look_as_documented() {
        let shown = |report: &Report| serde_json::to_string(report).expect("json");
        assert_eq!(shown(&Report::Running { pid: 7 }), r#"{"state":"running","pid":7}"#);
        assert_eq!(shown(&Report::Exited { code: 7, oom: false }), r#"{"state":"exited","code":7,"oom":false}"#);
        assert_eq!(serde_json::to_string(&Control::Signal(15)).expect("json"), r#"{"signal":15}"#);
        assert!(serde_json::from_str::<Report>(r#"{"state":"running","pid":0,"more":1}"#).is_err());
    }
}
