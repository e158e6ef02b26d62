//! A real etcd of three members on loopback: Debian's `etcd`, whose processes tests kill and whose
//! data they exchange.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::guest::free_port;
use crate::{http, lab};

/// The group of tests.lock.
const GROUP: &str = "etcd";
/// Number of members: the smallest of which any one may be away.
pub const MEMBERS: usize = 3;
/// How long the members may take to agree on a leader.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often they are asked meanwhile.
const POLL: Duration = Duration::from_millis(20);

/// The members; they end, and what they hold is gone, when this is dropped.
#[derive(Debug)]
pub struct Etcd {
    members: Vec<Member>,
    directory: TempDir,
}

/// What all members held at one time.
#[derive(Debug)]
pub struct Held {
    directory: TempDir,
}

#[derive(Debug)]
struct Member {
    client: SocketAddr,
    peer: SocketAddr,
    process: Option<Child>,
}

impl Etcd {
    /// Starts an empty one.
    pub fn start() -> Self {
        let member = |_| Member { client: free_port(), peer: free_port(), process: None };
        let members = (0..MEMBERS).map(member).collect();
        let mut etcd = Self { members, directory: tempfile::tempdir().unwrap() };
        etcd.start_all();
        etcd
    }

    /// The addresses of all members, as a KMS is told them.
    pub fn addresses(&self) -> String {
        let addresses = self.members.iter().map(|member| format!("http://{}", member.client));
        addresses.collect::<Vec<_>>().join(",")
    }

    /// Ends a member as a crash does.
    pub fn kill(&mut self, at: usize) {
        self.members[at].kill();
    }

    /// Starts a member again that was killed, on what it has stored.
    pub fn restart(&mut self, at: usize) {
        let mut command = self.command(at);
        self.members[at].process = Some(command.spawn().unwrap());
    }

    /// Waits until a member answers for a majority.
    pub fn wait_for(&mut self, at: usize) {
        let started = Instant::now();
        while http::get(self.members[at].client, "/health").is_err() {
            assert!(started.elapsed() < TIMEOUT, "member {at} of etcd is not healthy");
            let process = self.members[at].process.as_mut();
            // For a moment another program's connection may have the port.
            if process.is_some_and(|process| process.try_wait().unwrap().is_some()) {
                self.restart(at);
            }
            thread::sleep(POLL);
        }
    }

    /// A copy of what all members hold. They are killed for it and started again.
    pub fn copy(&mut self) -> Held {
        self.members.iter_mut().for_each(Member::kill);
        let held = Held { directory: tempfile::tempdir().unwrap() };
        (0..MEMBERS).for_each(|at| copy(&self.data(at), &held.directory.path().join(name(at))));
        self.start_all();
        held
    }

    /// Puts all members back to what they held. They are killed for it and started again.
    pub fn put_back(&mut self, held: &Held) {
        self.members.iter_mut().for_each(Member::kill);
        (0..MEMBERS).for_each(|at| self.exchange(held, at));
        self.start_all();
    }

    /// Puts one member back to what it held while the others run.
    pub fn put_back_one(&mut self, held: &Held, at: usize) {
        self.kill(at);
        self.exchange(held, at);
        self.restart(at);
    }

    fn exchange(&self, held: &Held, at: usize) {
        fs::remove_dir_all(self.data(at)).unwrap();
        copy(&held.directory.path().join(name(at)), &self.data(at));
    }

    fn start_all(&mut self) {
        (0..MEMBERS).for_each(|at| self.restart(at));
        (0..MEMBERS).for_each(|at| self.wait_for(at));
    }

    fn data(&self, at: usize) -> PathBuf {
        self.directory.path().join(name(at))
    }

    fn command(&self, at: usize) -> Command {
        let Member { client, peer, .. } = &self.members[at];
        let all = self.members.iter().enumerate();
        let all: Vec<_> =
            all.map(|(at, member)| format!("{}=http://{}", name(at), member.peer)).collect();
        let mut command = lab::tool(&lab::tools(GROUP), "usr/bin/etcd");
        command
            .arg(format!("--name={}", name(at)))
            .arg(format!("--data-dir={}", self.data(at).display()))
            .arg(format!("--listen-client-urls=http://{client}"))
            .arg(format!("--advertise-client-urls=http://{client}"))
            .arg(format!("--listen-peer-urls=http://{peer}"))
            .arg(format!("--initial-advertise-peer-urls=http://{peer}"))
            .arg(format!("--initial-cluster={}", all.join(",")))
            .args(["--heartbeat-interval=100", "--election-timeout=1000", "--log-level=error"])
            // A process that is killed loses nothing that it has written.
            .arg("--unsafe-no-fsync")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}

impl Member {
    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Already gone is as good as killed.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.members.iter_mut().for_each(Member::kill);
    }
}

fn name(at: usize) -> String {
    format!("member{at}")
}

/// Copies a directory of files and directories.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().unwrap().is_dir() {
            true => copy(&from, &to),
            false => drop(fs::copy(&from, &to).unwrap()),
        }
    }
}
