//! The public port and a socket of containers as their clients see them: over connections, with
//! software registers.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use containers::app::{App, Failure, FailureKind};
use protocol::app_status::{AppStatus, Document as _};
use protocol::prpc::guest::Service;
use service::serve;
use tokio::net::{TcpListener, UnixListener};

use super::Port;
use crate::api::Api;
use crate::api::socket::Socket;
use crate::api::with_keys;
use crate::boot::tests::boot;
use crate::quotes::QuoteDesk;
use crate::reports::Reports;

/// A served boot; `ask` sends bytes and gives the whole answer.
struct Served {
    address: SocketAddr,
    dstack: PathBuf,
    tappd: PathBuf,
    _directory: tempfile::TempDir,
}

/// With these changes to the measured file.
async fn served(changes: &[(&str, &str)]) -> Served {
    let directory = tempfile::tempdir().unwrap();
    let reports = Reports::to_file(tempfile::tempfile().unwrap());
    let change =
        |file: String| changes.iter().fold(file, |file, (from, to)| file.replace(from, to));
    let boot = boot(directory.path(), change);
    let desk = Arc::new(QuoteDesk::new(Arc::clone(&boot.log), reports));
    let api = Arc::new(Api::new(&boot, Arc::clone(&desk)));
    let app = App::failed(Failure { kind: FailureKind::Compose, message: "no <b>app</b>".into() });
    let port = Port::new(&boot, desk, Arc::clone(&api), app, directory.path().to_owned());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, Arc::new(port), super::MAX_CONNECTIONS));
    let [dstack, tappd] = ["dstack.sock", "tappd.sock"].map(|name| directory.path().join(name));
    for (path, service) in [(&dstack, Service::DstackGuest), (&tappd, Service::Tappd)] {
        serve_socket(&api, service, path);
    }
    Served { address, dstack, tappd, _directory: directory }
}

fn serve_socket(api: &Arc<Api>, service: Service, path: &Path) {
    let socket = Socket::new(Arc::clone(api), service);
    tokio::spawn(serve(UnixListener::bind(path).unwrap(), Arc::new(socket), 8));
}

fn exchange(mut stream: impl Read + Write, request: &[u8]) -> (u16, String) {
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer)
}

impl Served {
    async fn ask(&self, request: impl Into<Vec<u8>>) -> (u16, String) {
        let (address, request) = (self.address, request.into());
        let asked = move || exchange(std::net::TcpStream::connect(address).unwrap(), &request);
        tokio::task::spawn_blocking(asked).await.unwrap()
    }

    async fn get(&self, target: &str) -> (u16, String) {
        let (status, answer) = self
            .ask(format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
            .await;
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    /// A call as a program in a container makes it.
    async fn call(&self, socket: &Path, line: &str, body: &str) -> (u16, String) {
        self.raw(socket, &format!("{line} HTTP/1.1\r\nhost: x"), body).await
    }

    /// The same with its head as a whole, but for the length.
    async fn raw(&self, socket: &Path, head: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let request =
            format!("{head}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
        let socket = socket.to_owned();
        let asked = move || {
            exchange(std::os::unix::net::UnixStream::connect(socket).unwrap(), request.as_bytes())
        };
        let (status, answer) = tokio::task::spawn_blocking(asked).await.unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }
}

const PUBLIC_LOGS: (&str, &str) = (r#""public_logs":false"#, r#""public_logs":true"#);
const PUBLIC_SYSINFO: (&str, &str) = (r#""public_sysinfo":false"#, r#""public_sysinfo":true"#);
const NO_TCBINFO: (&str, &str) = (r#""public_tcbinfo":true"#, r#""public_tcbinfo":false"#);

#[tokio::test]
async fn evidence_and_info_are_served() {
    let served = served(&[]).await;
    let (status, body) = served.get(&format!("/evidence?nonce={}", "0a".repeat(32))).await;
    assert_eq!(
        (status, protocol::evidence::parse(body.as_bytes()).unwrap().nonce),
        (200, [10; 32])
    );
    let published = protocol::evidence::parse(body.as_bytes()).unwrap();
    assert!(published.app_compose.unwrap().starts_with(b"{"));
    assert_eq!(published.event_log.len(), 8);
    let (status, body) = served.get("/info").await;
    assert_eq!(
        (status, protocol::info::Info::parse(body.as_bytes()).unwrap().name.as_str()),
        (200, "hello")
    );
}

#[tokio::test]
async fn evidence_with_the_largest_log_comes_whole_and_without_an_unpublished_file() {
    let directory = tempfile::tempdir().unwrap();
    let boot = boot(directory.path(), |file| file.replace(NO_TCBINFO.0, NO_TCBINFO.1));
    for index in 0..15 {
        let event = protocol::event_log::RuntimeEvent::new(format!("é\"{index}"), [7; 32 * 1024]);
        boot.log.append(&event).unwrap();
    }
    let desk =
        QuoteDesk::new(Arc::clone(&boot.log), Reports::to_file(tempfile::tempfile().unwrap()));
    let page = super::evidence::EvidencePage::new(&boot);
    let query = format!("nonce={}", "0a".repeat(32));
    let mut body = page.answer(&boot, &desk, Some(&query)).await.into_body();
    let (mut json, mut largest) = (Vec::new(), 0);
    while let Some(frame) = http_body_util::BodyExt::frame(&mut body).await {
        let piece = frame.unwrap().into_data().unwrap();
        largest = largest.max(piece.len());
        json.extend(piece);
    }
    let evidence = protocol::evidence::parse(&json).unwrap();
    let (events, register) =
        boot.log.snapshot(|tee| tee::Tee::runtime_register(tee).unwrap()).unwrap();
    assert_eq!((evidence.event_log.len(), evidence.event_log), (23, events.events().unwrap()));
    assert_eq!((&evidence.quote[..48], evidence.app_compose), (register.as_bytes(), None));
    assert!(json.len() > 15 << 16 && largest <= 32 * 1024, "{} {largest}", json.len());
}

#[tokio::test]
async fn every_path_is_open_exactly_as_the_measured_file_says() {
    let nonce = format!("/evidence?nonce={}", "0a".repeat(32));
    // Path, without any permission, with logs, with system figures.
    let table = [
        ("/", 200, 200, 200),
        ("/info", 200, 200, 200),
        // A guest without a KMS has no release statement.
        ("/release", 404, 404, 404),
        ("/release?x", 400, 400, 400),
        (nonce.as_str(), 200, 200, 200),
        ("/prpc/Worker.Info", 200, 200, 200),
        ("/prpc/Worker.Version", 200, 200, 200),
        ("/prpc/Worker.GetAttestationForAppKey?algorithm=ed25519", 400, 400, 400),
        ("/ps", 403, 403, 200),
        ("/stats", 403, 403, 200),
        ("/events", 403, 403, 200),
        ("/events?after=3", 403, 403, 200),
        ("/metrics", 403, 403, 200),
        ("/logs/web", 403, 404, 403),
        ("/logs/../log", 403, 404, 403),
        ("/prpc/DstackGuest.GetQuote", 404, 404, 404),
        ("/GetQuote", 404, 404, 404),
    ];
    let [none, logs, sysinfo] = [
        served(&[NO_TCBINFO]).await,
        served(&[PUBLIC_LOGS]).await,
        served(&[PUBLIC_SYSINFO]).await,
    ];
    for (path, by_none, by_logs, by_sysinfo) in table {
        for (served, expected) in [(&none, by_none), (&logs, by_logs), (&sysinfo, by_sysinfo)] {
            let (status, body) = served.get(path).await;
            assert_eq!(status, expected, "{path}: {body}");
            assert!(status != 403 || body.contains("does not say"), "{body}");
        }
    }
    assert_eq!(
        protocol::info::Info::parse(none.get("/info").await.1.as_bytes()).unwrap().registers,
        None
    );
    assert!(none.get("/prpc/Worker.Info").await.1.contains(r#""tcb_info":"""#));
    let (_, body) = sysinfo.get("/ps").await;
    assert_eq!(
        AppStatus::parse(body.as_bytes()).unwrap().message.as_deref(),
        Some("no <b>app</b>")
    );
    assert!(sysinfo.get("/metrics").await.1.contains("\nsystem_memory_total "));
}

#[tokio::test]
async fn the_page_has_no_foreign_markup_and_no_outside_assets() {
    let served = served(&[PUBLIC_SYSINFO]).await;
    let (status, answer) =
        served.ask("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert_eq!(status, 200);
    assert!(answer.contains("no &lt;b&gt;app&lt;/b&gt;") && !answer.contains("<b>"), "{answer}");
    let (head, page) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("default-src 'none'") && head.contains("text/html"), "{head}");
    for absent in ["<script", "src=", "@import", "<link", "url("] {
        assert!(!page.contains(absent), "{absent}");
    }
    for present in ["width=device-width", "color-scheme", "dstyx verify", "compose hash"] {
        assert!(page.contains(present), "{present}");
    }
}

#[tokio::test]
async fn wrong_requests_get_an_error_with_a_hint() {
    let served = served(&[PUBLIC_SYSINFO, PUBLIC_LOGS]).await;
    let nonce = "0a".repeat(32);
    for (target, expected) in [
        ("/evidence".to_owned(), 400),
        ("/evidence?nonce=".to_owned(), 400),
        (format!("/evidence?nonce={}", nonce.to_uppercase()), 400),
        (format!("/evidence?nonce={nonce}&nonce={nonce}"), 400),
        (format!("/evidence?nonce={nonce}00"), 400),
        ("/info?x=1".to_owned(), 400),
        ("/ps?x=1".to_owned(), 400),
        ("/events?x=1".to_owned(), 400),
        ("/logs/web?since=soon".to_owned(), 400),
        ("/other".to_owned(), 404),
    ] {
        let (status, body) = served.get(&target).await;
        assert_eq!(status, expected, "{target}: {body}");
        assert!(body.contains("\"error\":") && body.contains("\"hint\":"), "{body}");
    }
    let (status, posted) =
        served.ask("POST /info HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert_eq!(status, 405, "{posted}");
}

#[tokio::test]
async fn heads_beyond_the_budgets_are_refused() {
    let served = served(&[]).await;
    let long = format!("GET /info HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(16384));
    assert_ne!(served.ask(long).await.0, 200);
    let many = format!("GET /info HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(49));
    assert_ne!(served.ask(many).await.0, 200);
}

/// Each request as an SDK of dstack writes it, and what it reads of the answer:
/// `tests/vectors/prpc/sdk-calls.json`.
#[tokio::test]
async fn calls_of_dstacks_sdks_are_answered() {
    let served = served(&[]).await;
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/vectors/prpc/sdk-calls.json")).unwrap();
    let calls = vectors["calls"].as_array().unwrap();
    assert!(calls.len() >= 20, "{}", calls.len());
    for call in calls {
        let field = |key: &str| call[key].as_str().unwrap_or_else(|| panic!("{key}: {call}"));
        let socket = if field("socket") == "tappd" { &served.tappd } else { &served.dstack };
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json",
            field("path")
        );
        let (status, answer) = served.raw(socket, &head, &call["body"].to_string()).await;
        assert_eq!(
            status,
            u16::try_from(call["status"].as_u64().unwrap()).unwrap(),
            "{call}: {answer}"
        );
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        for (key, pattern) in call["answer"].as_object().into_iter().flatten() {
            assert!(fits(&answer[key], pattern.as_str().unwrap()), "{key} of {call}: {answer}");
        }
    }
}

/// What a client needs of a field: `text`, `hex`, `json`, `truth`, or `=` and the text that is
/// expected.
fn fits(value: &serde_json::Value, pattern: &str) -> bool {
    match pattern {
        "text" => value.is_string(),
        "truth" => value.is_boolean(),
        "hex" => value.as_str().is_some_and(|text| hex::decode(text).is_ok()),
        "json" => value
            .as_str()
            .is_some_and(|text| serde_json::from_str::<serde_json::Value>(text).is_ok()),
        _ => value.as_str().is_some_and(|text| Some(text) == pattern.strip_prefix('=')),
    }
}

/// The real thing, where Python and its package registry are at hand.
#[tokio::test]
async fn dstacks_own_python_sdk_finds_what_it_expects() {
    let directory = tempfile::tempdir().unwrap();
    let Some(python) = python_with_sdk(directory.path()) else {
        // Past libtest's capture: `cargo xtask test` counts these lines.
        let _ =
            writeln!(std::io::stdout(), "NOT RUN dstack's Python SDK: pip cannot install it here");
        return;
    };
    let scripts = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/prpc");
    let calls = async |script: &str, sockets: [&Path; 2], more: &[String]| {
        let mut calls = Command::new(&python);
        calls.arg(Path::new(scripts).join(script)).args(sockets).args(more);
        let output = tokio::task::spawn_blocking(move || calls.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let served = served(&[]).await;
    calls("sdk.py", [&served.dstack, &served.tappd], &[]).await;

    let keys = tempfile::tempdir().unwrap();
    let api = Arc::new(with_keys::api(keys.path()));
    let sockets = [Service::DstackGuest, Service::Tappd].map(|service| {
        let path = keys.path().join(service.name());
        serve_socket(&api, service, &path);
        path
    });
    let root = with_keys::root_k256();
    calls("sdk-keys.py", sockets.each_ref().map(PathBuf::as_path), &[root]).await;
}

/// A Python of its own with the version of the SDK that the vectors are of, and Keccak.
fn python_with_sdk(directory: &Path) -> Option<PathBuf> {
    let python = directory.join("bin/python3");
    let succeeds =
        |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    let made = succeeds(Command::new("python3").args(["-m", "venv"]).arg(directory))
        && succeeds(Command::new(&python).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "dstack-sdk==0.5.4",
            "pycryptodome==3.23.0",
        ]));
    made.then_some(python)
}

#[tokio::test]
async fn sockets_take_dstacks_paths_encodings_and_limits() {
    let served = served(&[]).await;
    for head in [
        "GET /Version",
        "GET /prpc/DstackGuest.Version",
        "POST /Version?json",
        "POST /v0/Version?json=true",
    ] {
        let (status, body) = served.call(&served.dstack, head, "").await;
        assert_eq!(status, 200, "{head}: {body}");
        assert!(body.starts_with(r#"{"version":""#), "{head}: {body}");
    }
    let (status, body) = served.call(&served.dstack, "GET /GetQuote?report_data=0a", "").await;
    assert!(status == 200 && body.contains(r#""report_data":"0a00"#), "{body}");
    let (status, body) = served.call(&served.dstack, "POST /Version", "").await;
    assert!(status == 200 && body.starts_with('\n'), "protobuf unless JSON is asked for: {body:?}");
    let (status, body) = served.call(&served.dstack, "POST /Nothing?json", "{}").await;
    assert_eq!((status, body.as_str()), (404, r#"{"error":"Service not found: Nothing"}"#));
    let (status, _) = served.call(&served.tappd, "GET /GetQuote", "").await;
    assert_eq!(status, 404);
    let (status, body) = served.call(&served.dstack, "POST /GetQuote?json", "{").await;
    assert!(status == 400 && body.contains("arguments"), "{body}");
    let large = format!(r#"{{"data":"{}"}}"#, "0".repeat(1 << 20));
    let (status, body) = served.call(&served.dstack, "POST /Verify?json", &large).await;
    assert!(status == 413 && body.contains("too large"), "{body}");
}

#[tokio::test]
async fn clients_that_send_nothing_do_not_keep_others_waiting() {
    let served = served(&[]).await;
    let silent: Vec<_> =
        (0..7).map(|_| std::os::unix::net::UnixStream::connect(&served.dstack).unwrap()).collect();
    assert_eq!(served.call(&served.dstack, "GET /Version", "").await.0, 200);
    drop(silent);
}

/// Clients that ask for a large answer and do not read it have a bounded sum of answers kept for
/// them; the next client is told so, and is answered once one of them has gone.
#[tokio::test]
async fn answers_that_nobody_reads_take_bounded_memory() {
    let directory = tempfile::tempdir().unwrap();
    let boot = boot(directory.path(), |file| file);
    for _ in 0..12 {
        let event = protocol::event_log::RuntimeEvent::new("large", [7; 32 * 1024]);
        boot.log.append(&event).unwrap();
    }
    let desk =
        QuoteDesk::new(Arc::clone(&boot.log), Reports::to_file(tempfile::tempfile().unwrap()));
    let api = Arc::new(Api::new(&boot, Arc::new(desk)));
    let socket = Socket::new(api, Service::DstackGuest).with_room(2 << 20);
    let path = directory.path().join("dstack.sock");
    tokio::spawn(serve(UnixListener::bind(&path).unwrap(), Arc::new(socket), 8));
    let asked = move || {
        let ask = || {
            let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
            let request = "GET /Info HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).unwrap();
            let mut status = [0; 12];
            stream.read_exact(&mut status).unwrap();
            (String::from_utf8_lossy(&status[9..]).into_owned(), stream)
        };
        // Each answer has about 0.8 MiB.
        let mut unread: Vec<_> = (0..2).map(|_| ask()).collect();
        assert!(unread.iter().all(|(status, _)| status == "200"), "{unread:?}");
        assert_eq!(ask().0, "503");
        unread.pop();
        let again = (0..100).map(|_| std::thread::sleep(std::time::Duration::from_millis(50)));
        assert!(again.map(|()| ask().0).any(|status| status == "200"));
    };
    tokio::task::spawn_blocking(asked).await.unwrap();
}

/// A call that is answered without the device; what its answer costs is HTTP, reading and writing.
const CALL: &str = "POST /GetKey HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 58\r\n\r\n\
                    {\"path\":\"wallet/eth\",\"purpose\":\"\",\"algorithm\":\"secp256k1\"}";
/// Calls of a round, unless the bench asks for enough of them to be timed.
const CALLS: u32 = 100;
const BENCH_CALLS: &str = "DSTYX_BENCH_CALLS";
const ROUNDS: usize = 5;

/// All of them are answered; how fast, beside an echo without our bounds, is printed for the bench.
#[tokio::test]
async fn one_connection_carries_many_calls() {
    let served = served(&[]).await;
    let calls = std::env::var(BENCH_CALLS).map_or(CALLS, |calls| calls.parse().unwrap());
    let echo = served._directory.path().join("echo.sock");
    tokio::spawn(bare_echo(UnixListener::bind(&echo).unwrap()));
    let dstack = served.dstack.clone();
    let measured = move || {
        let mut rounds: Vec<_> = (0..ROUNDS)
            .map(|_| {
                (
                    calls_a_second(&dstack, calls, b"no key provider"),
                    calls_a_second(&echo, calls, b"wallet/eth"),
                )
            })
            .collect();
        let mut median = |pick: fn(&(f64, f64)) -> f64| {
            rounds.sort_by(|a, b| pick(a).total_cmp(&pick(b)));
            pick(&rounds[ROUNDS / 2])
        };
        (median(|round| round.0), median(|round| round.1))
    };
    let (ours, echo) = tokio::task::spawn_blocking(measured).await.unwrap();
    println!("FIGURE calls a second: {ours:.0} {echo:.0}");
}

/// hyper with a body of the same size and no bound.
async fn bare_echo(listener: UnixListener) {
    use hyper::service::service_fn;
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(async |request: hyper::Request<hyper::body::Incoming>| {
            use http_body_util::BodyExt as _;
            let body = request.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>(hyper::Response::new(http_body_util::Full::new(body)))
        });
        let builder = hyper::server::conn::http1::Builder::new();
        tokio::spawn(builder.serve_connection(hyper_util::rt::TokioIo::new(stream), service));
    }
}

/// Each answer has `expected` in it.
fn calls_a_second(socket: &Path, calls: u32, expected: &[u8]) -> f64 {
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    let started = std::time::Instant::now();
    let mut answer = [0; 4096];
    for _ in 0..calls {
        stream.write_all(CALL.as_bytes()).unwrap();
        let length = stream.read(&mut answer).unwrap();
        assert!(answer[..length].windows(expected.len()).any(|part| part == expected));
    }
    f64::from(calls) / started.elapsed().as_secs_f64()
}
