//! A real certification authority of tests on loopback: Debian's `pebble`, which validates by the
//! records of a name server that the test names. It looks at no CAA record.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::guest::free_port;
use crate::lab;

/// The group of tests.lock.
const GROUP: &str = "pebble";
/// How long the authority may take to listen.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is tried meanwhile.
const POLL: Duration = Duration::from_millis(20);
/// The path of its directory.
pub const DIRECTORY: &str = "/dir";

/// The authority; it ends when this is dropped.
#[derive(Debug)]
pub struct Pebble {
    address: SocketAddr,
    process: Child,
    _directory: TempDir,
}

impl Pebble {
    /// Starts one that serves with this chain and key (PEM) and looks names up at a name server.
    pub fn start(chain: &str, key: &str, name_server: SocketAddr) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        fs::write(file("chain.pem"), chain).unwrap();
        fs::write(file("key.pem"), key).unwrap();
        let started = Instant::now();
        loop {
            let (address, management) = (free_port(), free_port());
            let configuration = serde_json::json!({ "pebble": {
                "listenAddress": address.to_string(),
                "managementListenAddress": management.to_string(),
                "certificate": file("chain.pem"),
                "privateKey": file("key.pem"),
                "httpPort": 5002,
                "tlsPort": 5001,
                "ocspResponderURL": "",
                "externalAccountBindingRequired": false,
                "retryAfter": { "authz": 1, "order": 1 },
                "keyAlgorithm": "ecdsa",
                "profiles": { "default": { "description": "a test's", "validityPeriod": 7_776_000 } },
            }});
            fs::write(file("config.json"), configuration.to_string()).unwrap();
            let log = fs::File::create(file("log")).unwrap();
            let mut process = lab::tool(&lab::tools(GROUP), "usr/bin/pebble")
                .arg("-config")
                .arg(file("config.json"))
                .arg("-dnsserver")
                .arg(name_server.to_string())
                .env("PEBBLE_VA_NOSLEEP", "1")
                // By chance none would be taken as often as a client tries.
                .env("PEBBLE_WFE_NONCEREJECT", "0")
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap();
            while process.try_wait().unwrap().is_none() {
                assert!(started.elapsed() < TIMEOUT, "pebble does not serve");
                if TcpStream::connect(address).is_ok() {
                    return Self { address, process, _directory: directory };
                }
                thread::sleep(POLL);
            }
            // Another program may have taken a port meanwhile.
        }
    }

    /// Where it answers, over TLS.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        // Already gone is as good as killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
