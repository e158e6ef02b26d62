//! Servers over HTTPS on loopback, which answer one request a connection as a test says, with a
//! certificate of an authority of its own.

use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// An authority of a test, and a certificate of it for this machine.
#[derive(Debug)]
pub struct Local {
    /// The authority's certificate.
    pub root: CertificateDer<'static>,
    /// The certificate for this machine.
    pub chain_pem: String,
    /// Its key.
    pub key_pem: String,
    config: Arc<ServerConfig>,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// GET, POST or another one.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The whole head.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

/// What a server answers: a status, lines of the head, a body.
pub type Reply = (u16, String, Vec<u8>);

impl Local {
    /// A new authority.
    #[expect(clippy::new_without_default, reason = "it makes keys")]
    pub fn new() -> Self {
        Self::of(&["127.0.0.1", "localhost"])
    }

    /// A new authority, whose certificate is for these names; it begins now.
    pub fn of(names: &[&str]) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let leaf_key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = SystemTime::now().into();
        let leaf = params.signed_by(&leaf_key, &issuer).unwrap();
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], der)
            .unwrap();
        Self {
            root: root.der().clone(),
            chain_pem: leaf.pem(),
            key_pem: leaf_key.serialize_pem(),
            config: Arc::new(config),
        }
    }

    /// Serves on a port of loopback for as long as the test runs.
    pub fn serve(&self, answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> SocketAddr {
        self.serve_raw(move |stream| {
            let asked = read(stream)?;
            let (status, head, body) = answer(&asked);
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status} x\r\n{head}Content-Length: {length}\r\nConnection: close\r\n\r\n"
            )?;
            stream.write_all(&body)
        })
    }

    /// The same for servers that do otherwise.
    pub fn serve_raw(
        &self,
        talk: impl Fn(&mut Tls) -> io::Result<()> + Send + Sync + 'static,
    ) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (config, talk) = (Arc::clone(&self.config), Arc::new(talk));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (config, talk) = (Arc::clone(&config), Arc::clone(&talk));
                thread::spawn(move || {
                    let connection = ServerConnection::new(config).unwrap();
                    let mut tls = StreamOwned::new(connection, stream.unwrap());
                    let _ = talk(&mut tls);
                    tls.conn.send_close_notify();
                    let _ = tls.flush();
                });
            }
        });
        address
    }
}

/// A connection of a test's server.
pub type Tls = StreamOwned<ServerConnection, TcpStream>;

/// One request, its head and its body.
pub fn read(stream: &mut impl Read) -> io::Result<Asked> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        bytes.push(byte[0]);
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body)?;
    let mut words = head.split(' ');
    let [method, path] = [words.next().unwrap().to_owned(), words.next().unwrap().to_owned()];
    Ok(Asked { method, path, head, body })
}
