//! Registries on loopback, plain or with a certificate, that serve blobs by digest and lie in a
//! chosen way.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use container_images::{Mirror, RegistrySettings};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::image::Blobs;

/// What a registry does with a blob that it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behaviour {
    Honest,
    /// One byte changed.
    OtherBytes,
    /// Half of the bytes, and a length that says so.
    Shorter,
    /// All bytes and one more, and a length that says so.
    Longer,
    /// Half of the bytes of what the length says; asked for the rest, the same again.
    Dropped,
    /// Half of the bytes without a length.
    Halved,
    /// Bytes without end.
    Endless,
    /// A byte now and then.
    Dripping,
    /// Half of the bytes, then silence.
    Stalled,
    /// Silence.
    Silent,
    /// The connection closed.
    Closed,
    /// Something that is not HTTP.
    Garbage,
    /// A header line of a megabyte.
    LongHeader,
    /// A thousand header lines.
    ManyHeaders,
    /// The right bytes, said to be compressed.
    Encoded,
    /// The right bytes as a part that nobody asked for.
    Partial,
    /// Half of the bytes; asked for the rest, the first half as if it were the rest.
    WrongRest,
    /// Half of the bytes; asked for the rest, another part of them.
    OtherRest,
    /// A chunked body whose lengths are no numbers.
    BadChunks,
    /// This status and nothing else.
    Status(u16),
}

/// A question as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Where it wants to go on.
    fn offset(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

type Handler = dyn Fn(&Request, &mut dyn Write) -> Option<()> + Send + Sync;

/// A server that ends with the test process, and what it was asked.
#[derive(Clone)]
pub struct Server {
    pub port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("requests").clone()
    }

    /// The server as a mirror over plain HTTP.
    pub fn mirror(&self) -> Mirror {
        Mirror::parse(&format!("http://127.0.0.1:{}", self.port)).expect("address")
    }
}

/// Who the certificate of a server is from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// Plain HTTP.
    None,
    /// The authority of [`roots_pem`].
    Trusted,
    /// Another one.
    Stranger,
}

/// Listens on loopback; errors of `handler` end the connection, which is what a client sees of
/// them.
pub fn listen(
    certificate: Certificate,
    handler: impl Fn(&Request, &mut dyn Write) -> Option<()> + Send + Sync + 'static,
) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let port = listener.local_addr().expect("bound").port();
    let requests = Arc::default();
    let server = Server { port, requests: Arc::clone(&requests) };
    let handler: Arc<Handler> = Arc::new(handler);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (handler, requests) = (Arc::clone(&handler), Arc::clone(&requests));
            thread::spawn(move || match certificate {
                Certificate::None => answer(stream, &*handler, &requests),
                _ => {
                    let tls =
                        ServerConnection::new(tls(certificate == Certificate::Trusted)).ok()?;
                    answer(StreamOwned::new(tls, stream), &*handler, &requests)
                }
            });
        }
    });
    server
}

fn answer(
    mut stream: impl Read + Write,
    handler: &Handler,
    requests: &Mutex<Vec<Request>>,
) -> Option<()> {
    let mut reader = BufReader::new(&mut stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let mut request = Request { path, headers, body: String::new() };
    let length =
        request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    reader.take(length).read_to_string(&mut request.body).ok()?;
    requests.lock().expect("requests").push(request.clone());
    handler(&request, &mut stream)?;
    stream.flush().ok()
}

/// An authority for these tests, and a certificate of it for `localhost` and `127.0.0.1`.
struct Authority {
    root_pem: String,
    server: Arc<ServerConfig>,
}

impl Authority {
    fn new() -> Self {
        let mut ca = CertificateParams::new(Vec::new()).expect("parameters");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca =
            CertifiedIssuer::self_signed(ca, KeyPair::generate().expect("key")).expect("authority");
        let key = KeyPair::generate().expect("key");
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let leaf = CertificateParams::new(names)
            .expect("names")
            .signed_by(&key, &ca)
            .expect("certificate");
        let chain = vec![CertificateDer::from(leaf.der().to_vec())];
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("certificate");
        Self { root_pem: ca.pem(), server: Arc::new(server) }
    }
}

fn authority(trusted: bool) -> &'static Authority {
    static AUTHORITIES: [OnceLock<Authority>; 2] = [OnceLock::new(), OnceLock::new()];
    AUTHORITIES[usize::from(trusted)].get_or_init(Authority::new)
}

fn tls(trusted: bool) -> Arc<ServerConfig> {
    Arc::clone(&authority(trusted).server)
}

/// A file with the one root that is trusted.
pub fn roots_pem() -> PathBuf {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        let path =
            std::env::temp_dir().join(format!("dstyx-test-roots-{}.pem", std::process::id()));
        std::fs::write(&path, &authority(true).root_pem).expect("file");
        path
    });
    file.clone()
}

/// Mirrors alone.
pub fn mirrored(mirrors: Vec<Mirror>) -> RegistrySettings {
    RegistrySettings { mirrors, ..RegistrySettings::default() }
}

/// Starts a registry that behaves so for manifests and for blobs.
pub fn serve(blobs: Blobs, manifests: Behaviour, other: Behaviour) -> Mirror {
    listen(Certificate::None, move |request, out| blob(&blobs, manifests, other, request, out))
        .mirror()
}

/// Answers for a document or blob of `blobs`.
pub fn blob(
    blobs: &Blobs,
    manifests: Behaviour,
    other: Behaviour,
    request: &Request,
    out: &mut dyn Write,
) -> Option<()> {
    let behaviour = if request.path.contains("/manifests/") { manifests } else { other };
    match blobs.0.get(request.path.rsplit('/').next()?) {
        Some(bytes) => respond(out, bytes, behaviour, request.offset()),
        None => status(out, 404, ""),
    }
}

/// An answer of a status line and some headers, each ended by a line break.
pub fn status(out: &mut dyn Write, status: u16, headers: &str) -> Option<()> {
    let headers = headers.replace('\n', "\r\n");
    write!(out, "HTTP/1.1 {status} x\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n")
        .ok()
}

/// A whole body, with more headers.
pub fn body(out: &mut dyn Write, headers: &str, bytes: &[u8]) -> Option<()> {
    head(out, 200, headers, Some(bytes.len()))?;
    out.write_all(bytes).ok()
}

fn head(out: &mut dyn Write, status: u16, headers: &str, length: Option<usize>) -> Option<()> {
    let length = length.map(|length| format!("content-length: {length}\r\n")).unwrap_or_default();
    write!(out, "HTTP/1.1 {status} x\r\n{headers}{length}connection: close\r\n\r\n").ok()
}

// Long: one match, an arm a behaviour.
fn respond(
    out: &mut dyn Write,
    bytes: &[u8],
    behaviour: Behaviour,
    offset: Option<usize>,
) -> Option<()> {
    let (size, half) = (bytes.len(), bytes.len() / 2);
    let rest = |from: usize| format!("content-range: bytes {from}-{}/{size}\r\n", size - 1);
    match (behaviour, offset) {
        (Behaviour::Honest, Some(from)) => {
            head(out, 206, &rest(from), Some(size - from))?;
            out.write_all(&bytes[from..]).ok()
        }
        (Behaviour::Honest, None) => body(out, "", bytes),
        (Behaviour::OtherBytes, _) => {
            let mut lie = bytes.to_vec();
            lie[half] ^= 1;
            body(out, "", &lie)
        }
        (Behaviour::Shorter, _) => body(out, "", &bytes[..half]),
        (Behaviour::Longer, _) => body(out, "", &[bytes, b" "].concat()),
        (Behaviour::WrongRest, Some(from)) => {
            head(out, 206, &rest(from), Some(size - from))?;
            out.write_all(&vec![b'x'; size - from]).ok()
        }
        (Behaviour::OtherRest, Some(from)) => {
            head(out, 206, &rest(from + 1), Some(size - from))?;
            out.write_all(&bytes[from..]).ok()
        }
        (Behaviour::Dropped | Behaviour::WrongRest | Behaviour::OtherRest, _) => {
            head(out, 200, "", Some(size))?;
            out.write_all(&bytes[..half]).ok()
        }
        (Behaviour::Halved, _) => {
            head(out, 200, "", None)?;
            out.write_all(&bytes[..half]).ok()
        }
        (Behaviour::Endless, _) => {
            head(out, 200, "", None)?;
            loop {
                out.write_all(&[b' '; 4096]).ok()?;
                thread::sleep(Duration::from_micros(50));
            }
        }
        (Behaviour::Dripping, _) => {
            head(out, 200, "", Some(size))?;
            for byte in bytes {
                out.write_all(&[*byte]).ok()?;
                out.flush().ok()?;
                thread::sleep(Duration::from_millis(50));
            }
            Some(())
        }
        (Behaviour::Stalled, _) => {
            head(out, 200, "", Some(size))?;
            out.write_all(&bytes[..half]).ok()?;
            out.flush().ok()?;
            thread::sleep(Duration::from_secs(60));
            None
        }
        (Behaviour::Silent, _) => {
            thread::sleep(Duration::from_secs(60));
            None
        }
        (Behaviour::Closed, _) => None,
        (Behaviour::Garbage, _) => out.write_all(b"\x00\x01SSH-2.0-registry\r\n\r\n").ok(),
        (Behaviour::LongHeader, _) => body(out, &format!("x: {}\r\n", "y".repeat(1 << 20)), bytes),
        (Behaviour::ManyHeaders, _) => body(out, &"x: y\r\n".repeat(1000), bytes),
        (Behaviour::Encoded, _) => body(out, "content-encoding: gzip\r\n", bytes),
        (Behaviour::Partial, _) => {
            head(out, 206, &rest(0), Some(size))?;
            out.write_all(bytes).ok()
        }
        (Behaviour::BadChunks, _) => {
            head(out, 200, "transfer-encoding: chunked\r\n", None)?;
            out.write_all(b"zz\r\nhello\r\n0\r\n\r\n").ok()
        }
        (Behaviour::Status(code), _) => status(out, code, ""),
    }
}
