//! What agent and helper tell each other: JSON, a line each, over the helper's standard input and output.
//!
//! The agent sends one [`Request`], then any number of [`Control`]s; the helper answers with
//! [`Report::Started`] and then [`Report::Exited`] or [`Report::Killed`], or with [`Report::Failed`] alone.
//! Both ends are of the same build, so there is no version.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Longer than any line either side writes: paths and one error text.
pub const MAX_LINE_BYTES: usize = 64 << 10;

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Folder with `config.json` and the root.
    pub bundle: PathBuf,
    /// Names the container.
    pub id: String,
    /// Folder under which libcontainer keeps its state.
    pub state_root: PathBuf,
    /// Where the output goes.
    pub log: LogRequest,
}

/// Where a container's output goes: `path`, and `path.1` for what came before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogRequest {
    /// The newest file.
    pub path: PathBuf,
    /// Both files together never take more than twice this.
    pub max_bytes: u64,
}

/// What the agent asks of a running container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Control {
    /// Send this signal to its first process.
    Signal(i32),
}

/// What became of the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case", deny_unknown_fields)]
pub enum Report {
    /// Its first process runs.
    Started {
        /// In the guest's own numbering.
        pid: i32,
    },
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
    /// It never ran, or could not be watched.
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
        assert_eq!(shown(&Report::Started { pid: 7 }), r#"{"state":"started","pid":7}"#);
        assert_eq!(serde_json::to_string(&Control::Signal(15)).expect("json"), r#"{"signal":15}"#);
        assert!(serde_json::from_str::<Report>(r#"{"state":"exited","code":0,"more":1}"#).is_err());
    }
}
