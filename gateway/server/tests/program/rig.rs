//! The real program as a process: its guest's agent, its collateral service and its clients are the
//! test's.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ::tests::any_certificate;
use ::tests::emulated::{Emulated, pccs};
use agent_client::socket::fixtures::socket_of;
use attestation::signatures::{Envelope, PayloadType, SigningKey};
use gateway_rules::admin::{PAYLOAD_TYPE, RawCall, RawWish};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take on a busy machine.
pub const WITHIN: Duration = Duration::from_secs(120);

/// A guest in which the program runs.
pub struct Guest {
    pub directory: TempDir,
    pub app: Emulated,
    pccs: String,
    _runtime: tokio::runtime::Runtime,
}

/// The program, until this is dropped.
pub struct Running {
    process: Child,
    log: Arc<Mutex<String>>,
}

/// An answer: its head, its body, and the chain of the server.
pub struct Got {
    pub head: String,
    pub body: Vec<u8>,
    pub chain: Vec<Vec<u8>>,
}

impl Guest {
    pub fn new() -> Self {
        Self::of_instance(0xbb)
    }

    pub fn of_instance(instance: u8) -> Self {
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        std::fs::create_dir(directory.path().join("data")).unwrap();
        let mut app = Emulated::new("gateway", true);
        app.instance = instance;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (path, guest) = (directory.path().join("dstack.sock"), app.clone());
        runtime.block_on(async {
            let of = (&app.file[..], [app.instance; 20]);
            socket_of(&path, of, app.compose_hash(), move |data| Some(guest.evidence(data)))
        });
        Self { directory, app, pccs: pccs(None), _runtime: runtime }
    }

    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Starts the program with these base domains, and fields beside what every test has.
    pub fn start(&self, bases: &Value, more: &Value) -> Running {
        let mut file = json!({
            "base_domains": bases,
            "listen": {
                "clients": "127.0.0.1:0", "metrics": "127.0.0.1:0", "admin": "127.0.0.1:0",
            },
            "admin": { "owners": [owner(1).signer().key(), owner(2).signer().key()], "threshold": 2 },
            "txt_resolver": "127.0.0.1:1",
            "pccs": self.pccs,
            "data": self.data(),
            "socket": self.directory.path().join("dstack.sock"),
        });
        for (key, value) in more.as_object().unwrap() {
            file[key] = value.clone();
        }
        let path = self.directory.path().join("gateway.json");
        std::fs::write(&path, file.to_string()).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_gateway"))
            .arg(&path)
            .env("DNS_SECRET", DNS_SECRET)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (lines, kept) = (BufReader::new(process.stderr.take().unwrap()), Arc::clone(&log));
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                println!("gateway: {line}");
                *kept.lock().unwrap() += &(line + "\n");
            }
        });
        Running { process, log }
    }
}

/// The key of the zone in the tests, in base64, as the encrypted environment brings it.
pub const DNS_SECRET: &str = "WlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=";

pub fn owner(number: u8) -> SigningKey {
    SigningKey::from_seed(&[number; 32])
}

/// Waits until something is there.
pub fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(started.elapsed() < WITHIN, "not in time: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

impl Running {
    /// Where a part listens, as the program says.
    pub fn address(&self, part: &str) -> SocketAddr {
        until(part, || {
            let log = self.log();
            let line = log.lines().find(|line| line.contains(&format!("{part}: listening on ")))?;
            line.rsplit_once(' ')?.1.parse().ok()
        })
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the program says something.
    pub fn says(&self, text: &str) {
        until(text, || self.log().contains(text).then_some(()));
    }

    /// A page over TLS, whoever certified it; nothing if no certificate is served.
    pub fn page(&self, name: &str, path: &str) -> Option<Got> {
        get(self.address("clients"), name, path)
    }

    /// Waits until a base domain is served.
    pub fn served(&self, base: &str) -> Value {
        let served = until("a certificate is served", || {
            let got = self.page(&format!("gateway.{base}"), "/served.json")?;
            got.head.starts_with("HTTP/1.1 200 ").then_some(got)
        });
        serde_json::from_slice(&served.body).unwrap()
    }

    /// An answer over plain HTTP.
    pub fn plain(&self, part: &str, request: &str, body: &[u8]) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address(part)).unwrap();
        let length = body.len();
        let head = format!(
            "{request} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        split(&answer)
    }

    /// A call of owners.
    pub fn call(&self, wish: RawWish, owners: &[u8]) -> (String, Value) {
        let (_, nonce) = self.plain("admin", "GET /nonce", b"");
        let nonce: Value = serde_json::from_slice(&nonce).unwrap();
        let call = RawCall {
            gateway: serde_json::from_value(nonce["gateway"].clone()).unwrap(),
            nonce: serde_json::from_value(nonce["nonce"].clone()).unwrap(),
            not_after_secs: u64::MAX,
            call: wish,
        };
        let envelope = signed(&call, owners);
        let (head, body) = self.plain("admin", "POST /call", envelope.as_bytes());
        (head, serde_json::from_slice(&body).unwrap())
    }

    /// Tells it to end, and waits.
    pub fn end(mut self) -> bool {
        let id = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        until("its end", || self.process.try_wait().unwrap()).success()
    }

    /// Waits until it ended by itself; its log.
    pub fn failed(mut self) -> String {
        assert!(!until("its end", || self.process.try_wait().unwrap()).success());
        until("its hint", || self.log().contains("hint: ").then(|| self.log()))
    }
}

pub fn signed(call: &RawCall, owners: &[u8]) -> String {
    let payload = serde_json::to_vec(call).unwrap();
    let mut envelope = Envelope::new(PayloadType(PAYLOAD_TYPE), payload);
    owners.iter().for_each(|number| envelope.sign(&owner(*number)));
    envelope.to_json()
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone is as good as killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn split(answer: &[u8]) -> (String, Vec<u8>) {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end + 4..].to_vec())
}

fn get(address: SocketAddr, name: &str, path: &str) -> Option<Got> {
    let server = ServerName::try_from(name.to_owned()).unwrap();
    let connection = ClientConnection::new(any_certificate::client(), server).unwrap();
    let mut tls = StreamOwned::new(connection, TcpStream::connect(address).ok()?);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    tls.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    tls.read_to_end(&mut answer).ok()?;
    let chain = tls.conn.peer_certificates().unwrap().iter().map(|one| one.to_vec()).collect();
    let (head, body) = split(&answer);
    Some(Got { head, body, chain })
}
