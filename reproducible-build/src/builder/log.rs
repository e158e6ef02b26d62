//! The log of a running build: written by the commands, read back for progress and errors.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use fs_err as fs;

use crate::progress::Activity;

/// Lines of the log in an error: enough to hold a compiler's message.
const TAIL_LINES: usize = 25;
/// How often the progress line follows the log.
const POLL: Duration = Duration::from_millis(200);
/// The last line is looked for in the last so many bytes.
const LAST_LINE_BYTES: u64 = 512;
/// Longer lines are cut in the progress line.
const STATUS_CHARS: usize = 100;

/// Runs the command with both outputs in the log, and shows the log's last line.
pub(super) fn run(
    mut command: Command,
    log: &Path,
    activity: &dyn Activity,
) -> io::Result<ExitStatus> {
    let file = fs::File::create(log)?.into_file();
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let mut child = command.spawn()?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        activity.status(&last_line(log).unwrap_or_default());
        thread::sleep(POLL);
    }
}

/// The last lines of the log.
pub(super) fn tail(log: &Path) -> io::Result<String> {
    let mut lines = VecDeque::with_capacity(TAIL_LINES + 1);
    for line in BufReader::new(fs::File::open(log)?).split(b'\n') {
        lines.push_back(String::from_utf8_lossy(&line?).into_owned());
        if lines.len() > TAIL_LINES {
            lines.pop_front();
        }
    }
    Ok(Vec::from(lines).join("\n"))
}

fn last_line(log: &Path) -> io::Result<String> {
    let mut file = fs::File::open(log)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(LAST_LINE_BYTES)))?;
    let mut end = Vec::new();
    file.take(LAST_LINE_BYTES).read_to_end(&mut end)?;
    let end = String::from_utf8_lossy(&end);
    let line = end.trim_end().rsplit('\n').next().unwrap_or_default();
    Ok(line.chars().filter(|c| !c.is_control()).take(STATUS_CHARS).collect())
}
