//! The connection to a helper: commands out, answers and the container's end in.
//!
//! A task of its own holds the connection. It ends with the last report, or when the helper is gone
//! without one; what runs then is killed by way of its cgroup, since nobody watches it any more.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use container_helper::End;
use container_helper::cgroup;
use container_helper::wire::{
    Control, ExecOutcome, ExecRequest, MAX_LINE_BYTES, REPORT, Report, SOCKET, StartRequest,
};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerPidfd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::{ContainerError, State, blocking};

/// A container starts in tens of milliseconds; an emulated machine is a hundred times slower.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The helper answers at once; an emulated machine under load is slow.
const HELLO_TIMEOUT: Duration = Duration::from_secs(20);

/// A killed helper ends at once, unless a device keeps it.
const KILL_TIMEOUT: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

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
    Exec { arguments: Vec<String>, timeout: Duration, answer: oneshot::Sender<ExecOutcome> },
}

impl Link {
    /// Starts a helper and returns when the container's first process runs.
    pub(super) async fn start(
        helper: &Path,
        request: &StartRequest,
    ) -> Result<Self, ContainerError> {
        let spawned =
            Command::new(helper).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.map_err(ContainerError::Spawn)?;
        let error = match first_report(&mut child, request).await {
            Ok(Some(Report::Running { .. })) => {
                tokio::spawn(reap(child));
                return Self::attach(&request.directory, &request.id)
                    .await
                    .map_err(ContainerError::Directory);
            }
            Ok(Some(Report::Ended { end: End::Failed { message } })) => {
                ContainerError::NotStarted(message)
            }
            Ok(_) => ContainerError::NotStarted("the helper ended without a report".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                ContainerError::TooSlow(START_TIMEOUT.as_secs())
            }
            Err(error) => ContainerError::Spawn(error),
        };
        // It must not go on beside the one that is started next under this id. It was not waited
        // for yet, so its number is still its own.
        if let Err(error) = child.kill().await {
            tracing::warn!(%error, "a helper cannot be killed");
        }
        Err(error)
    }

    /// Connects to the helper of the container whose run directory is `directory`, or finds how it
    /// ended.
    pub(super) async fn attach(directory: &Path, id: &str) -> io::Result<Self> {
        let connected = match UnixStream::connect(directory.join(SOCKET)).await {
            Ok(stream) => {
                let helper = Peer::of(&stream)?;
                let mut stream = BufReader::new(stream);
                let hello = tokio::time::timeout(HELLO_TIMEOUT, next_report(&mut stream)).await;
                match hello {
                    Ok(Some(report)) => Some((stream, report)),
                    // One that does not answer may still be making its container ready.
                    Ok(None) | Err(_) => {
                        helper.end().await?;
                        None
                    }
                }
            }
            // Its socket is there from its first moment on: without one it is gone.
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
    pub(super) async fn exec(
        &self,
        arguments: &[String],
        timeout: Duration,
    ) -> Option<ExecOutcome> {
        let (answer, answered) = oneshot::channel();
        self.commands
            .send(Ask::Exec { arguments: arguments.to_owned(), timeout, answer })
            .await
            .ok()?;
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
            Ask::Exec { arguments, timeout, answer } => {
                let number = numbers.next().unwrap_or_default();
                self.waiting.insert(number, answer);
                let timeout_millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                Control::Exec(ExecRequest { number, arguments, timeout_millis })
            }
        };
        let mut line = serde_json::to_vec(&control)?;
        line.push(b'\n');
        self.stream.write_all(&line).await
    }
}

/// Sends the request and reads the report that the container runs, or why not; `None` if the helper
/// ended without one.
async fn first_report(child: &mut Child, request: &StartRequest) -> io::Result<Option<Report>> {
    let (Some(mut requests), Some(reports)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::Error::other("no pipes"));
    };
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    requests.write_all(&line).await?;
    started(&mut BufReader::new(reports)).await
}

/// The first report that is not about copying, whose time does not count: a volume takes as long as
/// the image's files are large.
async fn started(reports: &mut BufReader<impl AsyncRead + Unpin>) -> io::Result<Option<Report>> {
    let (mut left, mut copying) = (START_TIMEOUT, false);
    loop {
        let began = Instant::now();
        let report = match copying {
            true => next_report(reports).await,
            false => tokio::time::timeout(left, next_report(reports)).await?,
        };
        if !copying {
            left = left.saturating_sub(began.elapsed());
        }
        match report {
            Some(Report::Copying) => copying = true,
            Some(Report::Copied) => copying = false,
            report => return Ok(report),
        }
    }
}

/// The helper at the other end of a socket, by a descriptor that stands for no other process.
struct Peer(OwnedFd);

impl Peer {
    fn of(stream: &UnixStream) -> io::Result<Self> {
        Ok(Self(getsockopt(stream, PeerPidfd)?))
    }

    /// Kills it and returns when it has ended.
    async fn end(self) -> io::Result<()> {
        match pidfd_send_signal(&self.0, Signal::KILL) {
            // It has ended and was waited for.
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
        tokio::task::spawn_blocking(move || {
            let mut ended = [PollFd::new(&self.0, PollFlags::IN)];
            match poll(&mut ended, Some(&KILL_TIMEOUT))? {
                0 => Err(io::Error::new(io::ErrorKind::TimedOut, "a helper cannot be killed")),
                _ => Ok(()),
            }
        })
        .await?
    }
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
    if let Some(end) = reported(directory).await {
        return Ok(end);
    }
    let killed = id.to_owned();
    blocking(move || cgroup::kill(&killed)).await?;
    let end = End::Failed { message: "the helper ended without a report".to_owned() };
    // For the next agent, and to let a container of the same id be started.
    let report = Report::Ended { end: end.clone() };
    tokio::fs::write(directory.join(REPORT), serde_json::to_vec(&report)?).await?;
    Ok(end)
}

async fn reported(directory: &Path) -> Option<End> {
    let report = tokio::fs::read(directory.join(REPORT)).await.ok()?;
    last_of(serde_json::from_slice(&report).ok()?)
}

/// The end that a helper's last report tells.
fn last_of(report: Report) -> Option<End> {
    match report {
        Report::Ended { end } => Some(end),
        Report::Running { .. } | Report::Copying | Report::Copied | Report::Executed { .. } => None,
    }
}

/// Takes note of the helper's end, so that no zombie stays.
async fn reap(mut child: Child) {
    if let Err(error) = child.wait().await {
        tracing::warn!(%error, "waiting for a helper failed");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::PermissionsExt;

    use container_helper::wire::{RootRequest, UserRequest};
    use oci_spec::runtime::Spec;

    use super::*;
    use crate::testing::waiting_at;

    fn line(report: &Report) -> Vec<u8> {
        let mut line = serde_json::to_vec(report).expect("plain data");
        line.push(b'\n');
        line
    }

    /// What `started` makes of these reports, each after a pause in seconds.
    async fn heard(reports: &[(u64, Report)]) -> io::Result<Option<Report>> {
        let (mut helper, agent) = tokio::io::duplex(1 << 16);
        let reports = reports.to_vec();
        tokio::spawn(async move {
            for (pause, report) in reports {
                tokio::time::sleep(Duration::from_secs(pause)).await;
                let _ = helper.write_all(&line(&report)).await;
            }
        });
        started(&mut BufReader::new(agent)).await
    }

    #[tokio::test(start_paused = true)]
    async fn copying_does_not_count_against_the_start() {
        let running = Report::Running { pid: 7 };
        let copied = [
            (20, Report::Copying),
            (7200, Report::Copied),
            (20, Report::Copying),
            (7200, Report::Copied),
            (10, running.clone()),
        ];
        assert_eq!(heard(&copied).await.expect("in time"), Some(running.clone()));
        let slow = [(20, Report::Copying), (7200, Report::Copied), (41, running.clone())];
        assert_eq!(heard(&slow).await.expect_err("too slow").kind(), io::ErrorKind::TimedOut);
        assert_eq!(
            heard(&[(61, running)]).await.expect_err("silent").kind(),
            io::ErrorKind::TimedOut
        );
        assert_eq!(heard(&[(1, Report::Copying)]).await.expect("its end is heard"), None);
    }

    /// A program in the place of the helper that writes its number to `pid` and is not heard.
    fn silent(directory: &Path) -> PathBuf {
        let program = directory.join("helper");
        let script = format!(
            "#!/bin/sh\necho $$ >{0}/new && mv {0}/new {0}/pid\nexec /bin/sleep 1000\n",
            directory.display()
        )
        .replace("mv", "/bin/mv");
        fs::write(&program, script).expect("script");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("mode");
        program
    }

    fn request(directory: &Path) -> StartRequest {
        StartRequest {
            directory: directory.to_owned(),
            id: "silent-1".into(),
            spec: Spec::default(),
            root: RootRequest { layers: vec![], writable: directory.into() },
            user: UserRequest { name: String::new(), groups: vec![] },
            first_id: None,
            binds: vec![],
            network_namespace: None,
            network_sysctls: vec![],
            limits: vec![],
            has_neighbours: false,
            devices: vec![],
            danger_no_filter: false,
            stdin_open: false,
            log: None,
        }
    }

    #[tokio::test]
    async fn a_helper_that_is_not_heard_is_gone_before_another_starts() {
        let directory = tempfile::tempdir().expect("directory");
        let (program, request) = (silent(directory.path()), request(directory.path()));
        let pid = directory.path().join("pid");
        let start = tokio::spawn(async move { Link::start(&program, &request).await.map(drop) });
        while !pid.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::pause();
        let error = start.await.expect("no panic").expect_err("not heard");
        assert!(matches!(error, ContainerError::TooSlow(60)), "{error}");
        let pid = fs::read_to_string(pid).expect("number");
        assert!(!Path::new("/proc").join(pid.trim()).exists(), "it still runs");
    }

    #[tokio::test]
    async fn a_report_that_is_waited_for_holds_nobody_else_up() {
        let directory = tempfile::tempdir().expect("directory");
        let end = || End::Exited { code: 7, oom: false };
        let report = directory.path().join(REPORT);
        let write = move |path: &Path| fs::write(path, line(&Report::Ended { end: end() }));
        let attached = Link::attach(directory.path(), "waits-1");
        let link = waiting_at(&report, attached, write).await.expect("its end is known");
        assert_eq!(*link.state().borrow(), State::Ended(end()));
    }

    #[tokio::test]
    async fn the_peer_of_a_socket_is_ended() {
        let directory = tempfile::tempdir().expect("directory");
        let socket = directory.path().join(SOCKET);
        let listener = std::os::unix::net::UnixListener::bind(&socket).expect("listening");
        let stream = UnixStream::connect(&socket).await.expect("connected");
        let peer = Peer::of(&stream).expect("known");
        let own = std::process::id();
        let of = fs::read_to_string(format!("/proc/self/fdinfo/{}", peer.0.as_raw_fd()));
        assert!(of.expect("info").contains(&format!("Pid:\t{own}")), "who listens");
        drop(listener);
        let mut child = Command::new("/bin/sleep").arg("1000").spawn().expect("child");
        let number =
            rustix::process::Pid::from_raw(child.id().expect("runs") as i32).expect("number");
        let pidfd = rustix::process::pidfd_open(number, rustix::process::PidfdFlags::empty());
        Peer(pidfd.expect("pidfd")).end().await.expect("ended");
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&child.wait().await.expect("status")),
            Some(9)
        );
    }
}
