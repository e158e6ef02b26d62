//! A real server of Network Time Security on loopback: Debian's `chrony`, which sets no clock and
//! tells the time that a test wants.

use std::fs::{self, Permissions};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use tempfile::TempDir;

use crate::guest::{free_port, held_port};
use crate::lab;

/// The group of tests.lock.
const GROUP: &str = "chrony";
/// How long a server may take to listen.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is tried meanwhile.
const POLL: Duration = Duration::from_millis(20);

/// The server; it ends when this is dropped.
#[derive(Debug)]
pub struct Chrony {
    exchange: SocketAddr,
    /// Holds the number of its UDP port. Two servers could share that port, as chrony asks the
    /// system for it, and one would then answer for the other.
    time: TcpListener,
    process: Child,
    directory: TempDir,
}

impl Chrony {
    /// Starts one that tells this machine's time, with a chain of certificates and a key in PEM.
    pub fn start(chain: &str, key: &str) -> Self {
        // The socket of commands has a short path, and a directory that nobody else may enter.
        let private = Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().permissions(private).tempdir_in("/tmp").unwrap();
        fs::write(directory.path().join("chain.pem"), chain).unwrap();
        fs::write(directory.path().join("key.pem"), key).unwrap();
        let (exchange, time) = (free_port(), held_port());
        let process = process(directory.path(), exchange, &time);
        let mut server = Self { exchange, time, process, directory };
        let started = Instant::now();
        while !server.serves() {
            assert!(started.elapsed() < TIMEOUT, "chrony does not serve");
            // Another program may have taken a port meanwhile.
            (server.exchange, server.time) = (free_port(), held_port());
            server.process = self::process(server.directory.path(), server.exchange, &server.time);
        }
        server
    }

    /// The port of its key exchange on loopback.
    pub fn port(&self) -> u16 {
        self.exchange.port()
    }

    /// Lets it tell this time from now on, in seconds since 1970.
    pub fn tell(&self, secs: u64) {
        let said = Command::new("date")
            .args(["-u", "-d", &format!("@{secs}"), "+%b %d, %Y %H:%M:%S"])
            .output()
            .unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        let status = lab::tool(&lab::tools(GROUP), "usr/bin/chronyc")
            .arg("-h")
            .arg(self.directory.path().join("commands"))
            // What it was told before says nothing of the rate of its clock.
            .args(["-m", "manual reset", &format!("settime {}", said.trim())])
            .env("TZ", "UTC")
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "chronyc: {status}");
    }

    /// Ends it, and starts it again with other keys for its cookies.
    pub fn forget_keys(&mut self) {
        self.end();
        let started = Instant::now();
        loop {
            self.process = process(self.directory.path(), self.exchange, &self.time);
            if self.serves() {
                return;
            }
            assert!(started.elapsed() < TIMEOUT, "chrony does not serve again");
        }
    }

    /// Lets it answer nothing any more, though its ports stay open.
    pub fn pause(&self) {
        let pid = Pid::from_raw(self.process.id().try_into().unwrap());
        kill(pid, Signal::SIGSTOP).unwrap();
    }

    /// Waits until it serves; `false` if it has ended.
    fn serves(&mut self) -> bool {
        let started = Instant::now();
        while self.process.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < TIMEOUT, "chrony does not serve");
            let commands = self.directory.path().join("commands").exists();
            if commands && TcpStream::connect(self.exchange).is_ok() {
                return true;
            }
            thread::sleep(POLL);
        }
        false
    }

    fn end(&mut self) {
        // Already gone is as good as killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(self.directory.path().join("commands"));
        let _ = fs::remove_file(self.directory.path().join("pid"));
    }
}

impl Drop for Chrony {
    fn drop(&mut self) {
        self.end();
    }
}

/// This machine's time, in seconds since 1970.
pub fn now_secs() -> u64 {
    UNIX_EPOCH.elapsed().unwrap().as_secs()
}

fn process(directory: &Path, exchange: SocketAddr, time: &TcpListener) -> Child {
    let time = time.local_addr().unwrap();
    let place = directory.display();
    let configuration = format!(
        "port {}\nntsport {}\nntsservercert {place}/chain.pem\nntsserverkey {place}/key.pem\n\
         ntsprocesses 0\nbindaddress {}\nallow {}\nlocal stratum 1\nmanual\ncmdport 0\n\
         bindcmdaddress {place}/commands\npidfile {place}/pid\n",
        time.port(),
        exchange.port(),
        time.ip(),
        time.ip(),
    );
    fs::write(directory.join("chrony.conf"), configuration).unwrap();
    let user = User::from_uid(geteuid()).unwrap().unwrap().name;
    // -x: no clock is set; -U: by whoever tests.
    lab::tool(&lab::tools(GROUP), "usr/sbin/chronyd")
        .args(["-x", "-n", "-U", "-u", &user, "-L", "2", "-f"])
        .arg(directory.join("chrony.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
