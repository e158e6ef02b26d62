//! How willingly the kernel ends the calling process when memory ends (`oom_score_adj`, proc(5)).
//!
//! Init gives the agent and all helpers a score that survives; a container has its file's, or the
//! kernel's default. What is set with `CAP_SYS_RESOURCE` is also the least that the process and its
//! children may set later.

use std::fs;
use std::io;

const SCORE: &str = "/proc/self/oom_score_adj";

/// The score of this process.
pub(super) fn score() -> io::Result<i32> {
    let text = fs::read_to_string(SCORE)?;
    text.trim().parse().map_err(|_| io::Error::other(format!("{SCORE} is no number: {text:?}")))
}

/// Changes it.
pub(super) fn set_score(score: i32) -> io::Result<()> {
    fs::write(SCORE, score.to_string())
}
