//! Promise: the program serves its collateral on loopback to whoever asks as the API says, and to
//! nobody else.

#![allow(clippy::unwrap_used)] // a test whose input cannot be built has failed

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

const TCB_INFO: &str =
    "GET /tdx/certification/v4/tcb?fmspc=da96e4000000 HTTP/1.1\r\nHost: a\r\n\r\n";

/// The program, until the test ends.
struct Program {
    child: Child,
    address: String,
}

impl Program {
    fn start() -> Self {
        let mut child = command("127.0.0.1:0").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap().to_owned();
        Self { child, address }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).unwrap()
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn command(listen: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tdx-emulator"));
    command.args(["serve-collateral", "--listen", listen]);
    command
}

#[test]
fn it_says_where_it_listens_and_answers() {
    let answer = Program::start().ask(TCB_INFO);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\r\nTCB-Info-Issuer-Chain: %2D"), "{answer}");
    assert!(answer.contains("\r\n\r\n{\"tcbInfo\":{\"id\":\"TDX\""), "{answer}");
}

#[test]
fn what_is_no_question_of_the_api_has_no_answer() {
    let program = Program::start();
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404"),
        ("GET /tdx/certification/v4/tcb?fmspc=00906ea10000 HTTP/1.1\r\n\r\n", "404"),
        ("POST /tdx/certification/v4/qe/identity HTTP/1.1\r\n\r\n", "400"),
        ("GET /tdx/certification/v4/qe/identity\r\n\r\n", "400"),
        ("\r\n\r\n", "400"),
    ] {
        let answer = program.ask(request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{request}: {answer}");
    }
}

#[test]
fn peers_that_say_nothing_or_too_much_keep_nobody_from_an_answer() {
    let program = Program::start();
    let silent: Vec<TcpStream> = (0..12).map(|_| program.connect()).collect();
    let mut flood = program.connect();
    // The server hangs up in the middle, which may fail the writing.
    let _ = flood.write_all(&vec![b'x'; 1 << 20]);
    assert!(program.ask(TCB_INFO).starts_with("HTTP/1.1 200 OK\r\n"));
    drop(silent);
}

#[test]
fn it_listens_on_loopback_only() {
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let output = command(listen).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && stderr.contains("not on loopback"), "{stderr}");
    }
}
