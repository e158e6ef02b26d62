//! The connection to a helper: commands out, answers and the container's end in.
//!
//! A task of its own holds the connection. It ends with the last report, or when the helper is gone
//! without one; what runs then is killed by way of its cgroup, since nobody watches it any more.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use container_helper::End;
use container_helper::cgroup;
use container_helper::wire::{
    Control, ExecOutcome, ExecRequest, MAX_LINE_BYTES, REPORT, Report, Request, SOCKET,
};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};

use super::{ContainerError, State};

/// A container starts in tens of milliseconds; an emulated machine is a hundred times slower.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The helper answers at once; an emulated machine under load is slow.
const HELLO_TIMEOUT: Duration = Duration::from_secs(20);

/// Commands that wait for the task; more wait for a place.
const QUEUE: usize = 16;

/// The agent's end of one helper.
#[derive(Debug)]
pub(super) struct Link {
    state: watch::Receiver<State>,
    commands: mpsc::Sender<Ask>,
}

/// What is asked of the helper.
enum Ask {
    Signal(i32),
    Exec { words: Vec<String>, timeout: Duration, answer: oneshot::Sender<ExecOutcome> },
}

impl Link {
    /// Starts a helper and returns when the container's first process runs.
    pub(super) async fn start(helper: &Path, request: &Request) -> Result<Self, ContainerError> {
        let spawned =
            Command::new(helper).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.map_err(ContainerError::Spawn)?;
        let report = tokio::time::timeout(START_TIMEOUT, first_report(&mut child, request)).await;
        tokio::spawn(reap(child));
        match report.map_err(|_| ContainerError::TooSlow(START_TIMEOUT.as_secs()))? {
            Ok(Some(Report::Running { .. })) => Self::attach(&request.directory, &request.id)
                .await
                .map_err(ContainerError::Directory),
            Ok(Some(Report::Ended { end: End::Failed { message } })) => {
                Err(ContainerError::NotStarted(message))
            }
            Ok(_) => {
                Err(ContainerError::NotStarted("the helper ended without a report".to_owned()))
            }
            Err(error) => Err(ContainerError::Spawn(error)),
        }
    }

    /// Connects to the helper of the container whose run directory is `directory`, or finds how it
    /// ended.
    pub(super) async fn attach(directory: &Path, id: &str) -> io::Result<Self> {
        let connected = match UnixStream::connect(directory.join(SOCKET)).await {
            Ok(stream) => {
                let mut stream = BufReader::new(stream);
                let hello = tokio::time::timeout(HELLO_TIMEOUT, next_report(&mut stream)).await;
                hello.ok().flatten().map(|report| (stream, report))
            }
            Err(_) => None,
        };
        let (commands, asked) = mpsc::channel(QUEUE);
        let Some((stream, Report::Running { pid })) = connected else {
            let (_, state) = watch::channel(State::Ended(end(directory, id).await?));
            return Ok(Self { state, commands });
        };
        let (sender, state) = watch::channel(State::Running { pid });
        let task = Task {
            directory: directory.to_owned(),
            id: id.to_owned(),
            stream,
            waiting: HashMap::new(),
        };
        tokio::spawn(task.run(asked, sender));
        Ok(Self { state, commands })
    }

    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    pub(super) async fn signal(&self, number: i32) {
        // Without a task the container has ended.
        let _ = self.commands.send(Ask::Signal(number)).await;
    }

    /// `None` if the container ended before the command did.
    pub(super) async fn exec(&self, words: &[String], timeout: Duration) -> Option<ExecOutcome> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Ask::Exec { words: words.to_owned(), timeout, answer }).await.ok()?;
        answered.await.ok()
    }
}

/// What follows one running container.
struct Task {
    directory: PathBuf,
    id: String,
    stream: BufReader<UnixStream>,
    /// Who waits for which command.
    waiting: HashMap<u64, oneshot::Sender<ExecOutcome>>,
}

impl Task {
    async fn run(mut self, mut asked: mpsc::Receiver<Ask>, state: watch::Sender<State>) {
        let last = self.follow(&mut asked).await;
        state.send_replace(State::Ended(match last {
            Some(last) => last,
            None => match end(&self.directory, &self.id).await {
                Ok(last) => last,
                Err(error) => End::Failed { message: format!("the helper is gone: {error}") },
            },
        }));
    }

    /// Returns with the last report; `None` if the connection ends without one.
    async fn follow(&mut self, asked: &mut mpsc::Receiver<Ask>) -> Option<End> {
        let mut line = Vec::new();
        let mut numbers = 0..;
        // A helper outlives its agent; without anybody to ask there is still the end to wait for.
        let mut open = true;
        loop {
            // `read_until` keeps what it has read in `line` when the other branch is taken.
            tokio::select! {
                read = read_line(&mut self.stream, &mut line) => {
                    let report = read.ok().and_then(|()| serde_json::from_slice(&line).ok())?;
                    line.clear();
                    match report {
                        Report::Executed { number, outcome } => self.answer(number, outcome),
                        report => return last_of(report),
                    }
                }
                ask = asked.recv(), if open => match ask {
                    Some(ask) => self.pass_on(ask, &mut numbers).await.ok()?,
                    None => open = false,
                }
            }
        }
    }

    fn answer(&mut self, number: u64, outcome: ExecOutcome) {
        if let Some(waiting) = self.waiting.remove(&number) {
            // Who asked may have stopped waiting.
            let _ = waiting.send(outcome);
        }
    }

    async fn pass_on(
        &mut self,
        ask: Ask,
        numbers: &mut impl Iterator<Item = u64>,
    ) -> io::Result<()> {
        let control = match ask {
            Ask::Signal(number) => Control::Signal(number),
            Ask::Exec { words, timeout, answer } => {
                let number = numbers.next().unwrap_or_default();
                self.waiting.insert(number, answer);
                let timeout_millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                Control::Exec(ExecRequest { number, words, timeout_millis })
            }
        };
        let mut line = serde_json::to_vec(&control)?;
        line.push(b'\n');
        self.stream.write_all(&line).await
    }
}

/// Sends the request and reads the first report; `None` if the helper ended without one.
async fn first_report(child: &mut Child, request: &Request) -> io::Result<Option<Report>> {
    let (Some(mut requests), Some(reports)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::Error::other("no pipes"));
    };
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    requests.write_all(&line).await?;
    Ok(next_report(&mut BufReader::new(reports)).await)
}

/// The next line; `None` at the end, or if it is no report.
async fn next_report(reports: &mut BufReader<impl AsyncRead + Unpin>) -> Option<Report> {
    let mut line = Vec::new();
    read_line(reports, &mut line).await.ok()?;
    serde_json::from_slice(&line).ok()
}

/// Adds the rest of a line to `line`; cancel safe. An end or a line too long is an error.
async fn read_line(
    stream: &mut BufReader<impl AsyncRead + Unpin>,
    line: &mut Vec<u8>,
) -> io::Result<()> {
    let left = (MAX_LINE_BYTES + 1).saturating_sub(line.len());
    stream.take(left as u64).read_until(b'\n', line).await?;
    if line.last() == Some(&b'\n') { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// How a container ended whose helper does not answer: by its report, or else killed now.
async fn end(directory: &Path, id: &str) -> io::Result<End> {
    if let Some(end) = reported(directory) {
        return Ok(end);
    }
    cgroup::kill(id)?;
    let end = End::Failed { message: "the helper ended without a report".to_owned() };
    // For the next agent, and to let a container of the same id be started.
    let report = Report::Ended { end: end.clone() };
    tokio::fs::write(directory.join(REPORT), serde_json::to_vec(&report)?).await?;
    Ok(end)
}

fn reported(directory: &Path) -> Option<End> {
    let report = std::fs::read(directory.join(REPORT)).ok()?;
    last_of(serde_json::from_slice(&report).ok()?)
}

/// The end that a helper's last report tells.
fn last_of(report: Report) -> Option<End> {
    match report {
        Report::Ended { end } => Some(end),
        Report::Running { .. } | Report::Executed { .. } => None,
    }
}

/// Takes note of the helper's end, so that no zombie stays.
async fn reap(mut child: Child) {
    if let Err(error) = child.wait().await {
        tracing::warn!(%error, "waiting for a helper failed");
    }
}
