//! How a container's run ended: what its helper reports, its supervision decides by, and everybody
//! is shown.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum End {
    /// By itself.
    Exited {
        /// Exit code.
        code: i32,
        /// Whether a process of it was killed because its memory was used up.
        oom: bool,
    },
    /// By a signal.
    Killed {
        /// Number of the signal.
        signal: i32,
        /// Whether a process of it was killed because its memory was used up.
        oom: bool,
    },
    /// It could not be started or watched, or what it needs has failed.
    Failed {
        /// Why, for people.
        message: String,
    },
}

impl End {
    /// Exit code 0.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Exited { code: 0, .. })
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = |oom: &bool| if *oom { ", out of memory" } else { "" };
        match self {
            Self::Exited { code, oom } => write!(f, "exited with code {code}{}", memory(oom)),
            Self::Killed { signal, oom } => write!(f, "killed by signal {signal}{}", memory(oom)),
            Self::Failed { message } => write!(f, "failed: {message}"),
        }
    }
}
