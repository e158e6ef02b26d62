//! Other people's clients, as strangers use them to reach an app through a gateway: curl, OpenSSL's
//! `s_client`, and Python's clients of WebSocket and gRPC.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::lab;

/// The group of tests.lock with curl and openssl.
const GROUP: &str = "clients";
/// The group with Python and its modules.
const PYTHON_GROUP: &str = "image-speaker";
/// What speaks WebSocket and gRPC.
const SPEAK: &str = include_str!("clients/speak.py");

/// A gateway, and who vouches for names at it.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Where it takes clients.
    pub address: SocketAddr,
    /// The name that is asked for.
    pub name: &'a str,
    /// The certificate of the authority, a file of PEM.
    pub authority: &'a Path,
}

/// A connection over WebSocket that stays open until this is dropped.
#[derive(Debug)]
pub struct Held {
    process: Child,
    answers: BufReader<ChildStdout>,
}

/// What a client printed, or what it said of its failure.
pub type Said = Result<String, String>;

impl Target<'_> {
    /// curl: the body at a path.
    pub fn curl(&self, path: &str, more: &[&str]) -> Said {
        let Self { address, name, authority } = self;
        let mut curl = lab::tool(&lab::tools(GROUP), "usr/bin/curl");
        curl.args(["--silent", "--show-error", "--fail", "--max-time", "20", "--noproxy", "*"]);
        curl.arg("--cacert").arg(authority).arg("--resolve");
        curl.arg(format!("{name}:{}:{}", address.port(), address.ip())).args(more);
        curl.arg(format!("https://{name}:{}{path}", address.port()));
        said(&mut curl)
    }

    /// OpenSSL: what it shows of a handshake with this group for the key exchange.
    pub fn openssl(&self, group: &str, more: &[&str]) -> Said {
        let mut openssl = lab::tool(&lab::tools(GROUP), "usr/bin/openssl");
        openssl.args(["s_client", "-groups", group, "-servername", self.name]);
        openssl.arg("-connect").arg(self.address.to_string());
        openssl.arg("-CAfile").arg(self.authority).args(["-verify_return_error", "-brief"]);
        openssl.args(["-verify_hostname", self.name]).args(more).stdin(Stdio::null());
        let output = openssl.output().unwrap();
        // With `-brief` it speaks on its standard error.
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(text) } else { Err(text) }
    }

    /// Python's `websockets`: messages are echoed.
    pub fn websocket(&self) -> Said {
        self.speak("websocket")
    }

    /// gRPC's client for Python: calls and streams are echoed.
    pub fn grpc(&self) -> Said {
        self.speak("grpc")
    }

    /// The same client with a connection that stays open.
    pub fn held(&self) -> Held {
        let mut python = self.python("held");
        let mut process = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Held { process, answers }
    }

    fn speak(&self, kind: &str) -> Said {
        said(&mut self.python(kind))
    }

    fn python(&self, kind: &str) -> Command {
        let root = lab::tools(PYTHON_GROUP);
        let mut python = lab::tool(&root, "usr/bin/python3.13");
        python.env("PYTHONHOME", root.join("usr")).env("PYTHONDONTWRITEBYTECODE", "1");
        python.env("PYTHONPATH", root.join("usr/lib/python3/dist-packages"));
        python.args(["-c", SPEAK, kind, &self.address.port().to_string(), self.name]);
        python.arg(self.authority);
        python
    }
}

impl Held {
    /// Sends a line; what comes back of it, nothing where the connection has ended.
    pub fn echo(&mut self, line: &str) -> String {
        // A client that has ended reads nothing.
        let _ = writeln!(self.process.stdin.as_mut().unwrap(), "{line}");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Already gone is as good as killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn said(command: &mut Command) -> Said {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let [text, error] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if output.status.success() { Ok(text) } else { Err(error) }
}
