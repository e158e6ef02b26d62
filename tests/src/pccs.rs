//! A collateral service that says what a test tells it to, as slowly, as often and as wrongly.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tdx_emulator::collateral::Collateral;
use tdx_emulator::pccs::{Question, encoded};

/// How long a stalling service keeps its mouth shut: longer than anybody waits.
const STALL: Duration = Duration::from_secs(120);
/// What a service sends that does not stop.
const FLOOD_BYTES: usize = 64 << 20;

/// What it does with a request.
#[derive(Debug, Clone)]
pub enum Mood {
    /// Answers from this collateral (QuoteCollateralV3 JSON), as Intel's service would.
    Honest(Vec<u8>),
    /// Answers with this status and nothing else.
    Status(u16),
    /// Sends to another address.
    Redirect(String),
    /// Answers every question with this body.
    Garbage(&'static str),
    /// Says who it is and then nothing.
    Stall,
    /// Sends a byte now and then.
    Drip,
    /// Does not stop sending.
    Flood,
    /// Hangs up in the middle.
    HangUp,
}

/// A running service on loopback; it ends with the test's process.
#[derive(Debug)]
pub struct Pccs {
    /// Its address.
    pub url: String,
    mood: Arc<Mutex<Mood>>,
    asked: Arc<AtomicUsize>,
}

impl Pccs {
    /// Starts one.
    pub fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (mood, asked) = (Arc::new(Mutex::new(mood)), Arc::new(AtomicUsize::new(0)));
        let service = Self { url, mood: Arc::clone(&mood), asked: Arc::clone(&asked) };
        thread::spawn(move || {
            for stream in listener.incoming() {
                asked.fetch_add(1, Ordering::SeqCst);
                let mood = mood.lock().unwrap().clone();
                // Whoever asks may hang up at any time.
                thread::spawn(move || stream.and_then(|stream| answer(stream, &mood)));
            }
        });
        service
    }

    /// Changes its mood.
    pub fn be(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// How many questions it has had.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn answer(mut stream: TcpStream, mood: &Mood) -> std::io::Result<()> {
    let target = request(&stream)?;
    match mood {
        Mood::Honest(collateral) => {
            honest(&mut stream, &target, &serde_json::from_slice(collateral)?)
        }
        Mood::Status(status) => reply(&mut stream, &format!("{status} No"), "", b""),
        Mood::Redirect(to) => reply(&mut stream, "302 Found", &format!("Location: {to}\r\n"), b""),
        Mood::Garbage(body) => reply(&mut stream, "200 OK", &every_chain(body), body.as_bytes()),
        Mood::Stall => {
            thread::sleep(STALL);
            Ok(())
        }
        Mood::Drip => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n{}\r\n", every_chain("x"))?;
            loop {
                stream.write_all(b"0")?;
                thread::sleep(Duration::from_millis(500));
            }
        }
        Mood::Flood => {
            let flood = vec![b'0'; FLOOD_BYTES];
            reply(&mut stream, "200 OK", &every_chain("x"), &flood)
        }
        Mood::HangUp => write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{{"),
    }
}

/// The target of a GET; its headers are read and forgotten.
fn request(stream: &TcpStream) -> std::io::Result<String> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    Ok(first.split(' ').nth(1).unwrap_or_default().to_owned())
}

/// Intel's API, version 4, over any platform's collateral.
fn honest(stream: &mut TcpStream, target: &str, collateral: &Collateral) -> std::io::Result<()> {
    let Some(question) = Question::parse(target) else {
        return reply(stream, "404 Not Found", "", b"");
    };
    let answer = question.answer(collateral).unwrap();
    let chain = answer.chain.map(|(name, value)| format!("{name}: {value}\r\n"));
    reply(stream, "200 OK", &chain.unwrap_or_default(), &answer.body)
}

fn reply(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n"
    )?;
    stream.write_all(body)
}

fn every_chain(value: &str) -> String {
    let names =
        ["SGX-PCK-CRL-Issuer-Chain", "TCB-Info-Issuer-Chain", "SGX-Enclave-Identity-Issuer-Chain"];
    names.map(|name| format!("{name}: {}\r\n", encoded(value))).concat()
}
