//! A real authoritative name server on loopback: Debian's `knot`, whose zone takes updates that are
//! signed with a key of the test.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use crate::guest::free_port;
use crate::lab;

/// The group of tests.lock.
const GROUP: &str = "knot";
/// How long the server may take to listen.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is tried meanwhile.
const POLL: Duration = Duration::from_millis(20);
/// The name of the key.
pub const KEY_NAME: &str = "updates.key";
/// The key.
pub const SECRET: [u8; 32] = [0x5a; 32];

/// The server; it ends when this is dropped.
#[derive(Debug)]
pub struct Knot {
    address: SocketAddr,
    process: Child,
    directory: TempDir,
}

impl Knot {
    /// Starts one with these zones, each of which has the records that are given as lines of a zone
    /// file.
    pub fn start(zones: &[(&str, &str)]) -> Self {
        // The socket of commands has a short path.
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        zones.iter().for_each(|(zone, records)| write(directory.path(), zone, records));
        let started = Instant::now();
        loop {
            let address = free_port();
            configure(directory.path(), address, zones);
            let mut process = process(directory.path());
            while process.try_wait().unwrap().is_none() {
                assert!(started.elapsed() < TIMEOUT, "knot does not serve");
                if TcpStream::connect(address).is_ok() {
                    return Self { address, process, directory };
                }
                thread::sleep(POLL);
            }
            // Another program may have taken the port meanwhile.
        }
    }

    /// Gives a zone these records in place of those that it had: the server starts anew at its
    /// address.
    pub fn set(&mut self, zone: &str, records: &str) {
        self.end();
        write(self.directory.path(), zone, records);
        let started = Instant::now();
        self.process = process(self.directory.path());
        while TcpStream::connect(self.address).is_err() {
            assert!(started.elapsed() < TIMEOUT, "knot does not serve");
            thread::sleep(POLL);
        }
    }

    fn end(&mut self) {
        // Already gone is as good as killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Where it answers, over UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Asks a server over TCP; the bytes of question and answer.
pub fn ask(server: SocketAddr, question: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server).unwrap();
    let length = u16::try_from(question.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length, question].concat()).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer).unwrap();
    answer
}

impl Drop for Knot {
    fn drop(&mut self) {
        self.end();
    }
}

fn write(directory: &Path, zone: &str, records: &str) {
    let soa = format!("@ 60 SOA ns.{zone}. owner.{zone}. 1 60 60 60 1\n@ 60 NS ns.{zone}.\n");
    let text = format!("$ORIGIN {zone}.\n{soa}ns 60 A 127.0.0.1\n{records}\n");
    fs::write(directory.join(zone), text).unwrap();
}

fn configure(directory: &Path, address: SocketAddr, zones: &[(&str, &str)]) {
    let place = directory.display();
    let (ip, port) = (address.ip(), address.port());
    let secret = STANDARD.encode(SECRET);
    let zones: String = zones
        .iter()
        .map(|(zone, _)| {
            format!("  - domain: {zone}\n    storage: {place}\n    file: {zone}\n    acl: signed\n    zonefile-sync: -1\n")
        })
        .collect();
    let text = format!(
        "server:\n    rundir: {place}\n    listen: {ip}@{port}\n    udp-workers: 1\n    \
         tcp-workers: 1\n    background-workers: 1\ndatabase:\n    storage: {place}\n    \
         journal-db-max-size: 16M\n    kasp-db-max-size: 16M\n    timer-db-max-size: 16M\n    \
         catalog-db-max-size: 16M\n\
         key:\n  - id: {KEY_NAME}\n    algorithm: hmac-sha256\n    secret: {secret}\n\
         acl:\n  - id: signed\n    key: {KEY_NAME}\n    action: [query, update]\n\
         zone:\n{zones}"
    );
    fs::write(directory.join("knot.conf"), text).unwrap();
}

fn process(directory: &Path) -> Child {
    let log = fs::File::create(directory.join("log")).unwrap();
    lab::tool(&lab::tools(GROUP), "usr/sbin/knotd")
        .arg("-c")
        .arg(directory.join("knot.conf"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}
