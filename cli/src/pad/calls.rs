//! Calls on a guest's socket for Pads, through the service of its app that passes them on.
//!
//! Neither that service nor the network is believed anything. What goes there is sealed, signed or
//! public, but for a plain input; what comes back is sealed, and its digest is compared.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Write};
use std::time::{Duration, Instant};

use protocol::digest::Sha256Digest;
use protocol::pad_calls::{self, Drawn, FileInfo, MAX_BYTES, Output, RunRequest, UpdateRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::endpoint::{TIMEOUT, address, agent, answered, bounded};
use crate::failure::{Failure, Hint as _, Outcome};

/// Longest run: its program's ten minutes, and compiling it before.
const RUN_WITHIN: Duration = Duration::from_secs(900);
/// Between questions after a run whose answer was lost.
const POLL: Duration = Duration::from_secs(2);
/// Bytes of an output that are read at once.
const PIECE_BYTES: usize = 1 << 16;
/// What to try where the service does not answer.
const HINT: &str = "is this the service that passes calls on to the guest's socket for Pads? \
                    `dstyx ps` shows where it answers";

/// The service at an address.
pub struct Calls(String);

impl Calls {
    /// At this address.
    pub fn at(url: &str) -> Self {
        Self(url.to_owned())
    }

    /// Files that the service has already.
    pub fn held(&self) -> Outcome<BTreeSet<Sha256Digest>> {
        let address = address(&self.0, "/files");
        let response = agent(Some(TIMEOUT), TIMEOUT).get(&address).call();
        let files: Vec<FileInfo> = document(&address, response.hint(&address, HINT)?)?;
        Ok(files.into_iter().map(|file| file.sha256).collect())
    }

    /// Has a file kept; it may have gigabytes.
    pub fn put(&self, digest: &Sha256Digest, file: File) -> Outcome<()> {
        let address = address(&self.0, &format!("/files/{digest}"));
        let sent = agent(None, TIMEOUT).put(&address).send(file);
        answered(&address, sent.hint(&address, HINT)?).map(drop)
    }

    /// A run id, and what stands for the guest.
    pub fn draw(&self) -> Outcome<Drawn> {
        let address = address(&self.0, "/draw");
        let sent = agent(Some(RUN_WITHIN), RUN_WITHIN).post(&address).send_empty();
        document(&address, sent.hint(&address, HINT)?)
    }

    /// Has a program run to its end.
    pub fn run(&self, request: &RunRequest) -> Outcome<pad_calls::Outcome> {
        self.ended("/run", &request.run, request)
    }

    /// Has the policies of a Pad replaced.
    pub fn update(&self, request: &UpdateRequest) -> Outcome<pad_calls::Outcome> {
        self.ended("/update", &request.run, request)
    }

    fn ended(
        &self,
        path: &str,
        run: &[u8],
        request: &impl Serialize,
    ) -> Outcome<pad_calls::Outcome> {
        let address = address(&self.0, path);
        let request = serde_json::to_vec(request).expect("strings, numbers and digests serialise");
        let post = agent(Some(RUN_WITHIN), RUN_WITHIN).post(&address);
        match post.content_type("application/json").send(&request) {
            Ok(response) => document(&address, response),
            // A run goes on without its client, and what it spent is spent.
            Err(error) => self.again(run).map_err(|_| Failure::new(error, HINT)),
        }
    }

    /// The outcome of a run whose answer was lost.
    fn again(&self, run: &[u8]) -> Outcome<pad_calls::Outcome> {
        let address = address(&self.0, &format!("/runs/{}", hex::encode(run)));
        let begun = Instant::now();
        loop {
            let response = agent(Some(TIMEOUT), TIMEOUT).get(&address).call();
            let response = response.hint(&address, HINT)?;
            if response.status().as_u16() != 202 || begun.elapsed() > RUN_WITHIN {
                return document(&address, response);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Writes what left a run, if it is what the outcome says.
    pub fn fetch(&self, output: &Output, to: &mut impl Write) -> Outcome<()> {
        let address = address(&self.0, &format!("/files/{}", output.sha256));
        let response = agent(None, TIMEOUT).get(&address).call().hint(&address, HINT)?;
        let mut reader = answered(&address, response)?.into_reader().take(output.bytes + 1);
        let (mut hasher, mut piece) = (Sha256::new(), vec![0; PIECE_BYTES]);
        loop {
            match reader.read(&mut piece).hint(&address, HINT)? {
                0 => break,
                read => {
                    hasher.update(&piece[..read]);
                    to.write_all(&piece[..read]).hint("an output", "is there room on the disk?")?;
                }
            }
        }
        let found = Sha256Digest(hasher.finalize().into());
        if found == output.sha256 {
            return Ok(());
        }
        let what = format!("{address} has the SHA-256 {found}, expected {}", output.sha256);
        Err(Failure::new(what, "fetch it again: nothing of it was kept"))
    }

    /// Has a file forgotten.
    pub fn forget(&self, digest: &Sha256Digest) -> Outcome<()> {
        let address = address(&self.0, &format!("/files/{digest}"));
        let sent = agent(Some(TIMEOUT), TIMEOUT).delete(&address).call();
        answered(&address, sent.hint(&address, HINT)?).map(drop)
    }
}

fn document<T: DeserializeOwned>(
    address: &str,
    response: ureq::http::Response<ureq::Body>,
) -> Outcome<T> {
    let body = bounded(answered(address, response)?.into_reader(), address, MAX_BYTES)?;
    pad_calls::parse(&body).hint(address, "this is no service for Pads of this version of dstyx")
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use protocol::pad_calls::OutputKind;

    use super::*;

    /// A service that gives these answers, one a connection; the first lines of what it was asked.
    fn service(answers: Vec<String>) -> (Calls, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let calls = Calls::at(&format!("http://{}/", listener.local_addr().unwrap()));
        let asked = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1 << 16];
                let read = stream.read(&mut request).unwrap();
                let line = String::from_utf8_lossy(&request[..read]);
                asked.push(line.lines().next().unwrap_or_default().to_owned());
                let _ = stream.write_all(answer.as_bytes());
            }
            asked
        });
        (calls, asked)
    }

    fn answer(status: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
    }

    fn update() -> UpdateRequest {
        UpdateRequest {
            run: vec![7; 16],
            engines: Vec::new(),
            pad: Sha256Digest::ZERO,
            policies: Vec::new(),
            signed: Vec::new(),
            party: pad_calls::Party { enrolment: Vec::new(), address: None },
        }
    }

    #[test]
    fn an_outcome_whose_answer_was_lost_is_asked_for_again() {
        let run = "07".repeat(16);
        let outcome = format!(r#"{{"run":"{run}","refusals":["no"],"outputs":[]}}"#);
        let answers = vec![String::new(), answer("200 OK", &outcome)];
        let (calls, asked) = service(answers);
        assert_eq!(calls.update(&update()).unwrap().refusals, ["no"]);
        let lines = ["POST /update HTTP/1.1".to_owned(), format!("GET /runs/{run} HTTP/1.1")];
        assert_eq!(asked.join().unwrap(), lines);
    }

    #[test]
    fn a_refusal_is_the_guests_own_sentence_and_a_stranger_is_no_service() {
        let refusal = r#"{"error":"busy","hint":"wait"}"#;
        let (calls, _) = service(vec![answer("503 Busy", refusal)]);
        let failure = calls.update(&update()).unwrap_err();
        assert_eq!(
            (failure.to_string().as_str(), &*failure.hint),
            ("the guest says: busy", "wait")
        );
        let (calls, _) = service(vec![answer("200 OK", "<html>")]);
        assert!(calls.held().is_err());
    }

    #[test]
    fn an_output_with_other_bytes_is_refused() {
        for (sent, is_taken) in [("data", true), ("dada", false), ("data and more", false)] {
            let (calls, _) = service(vec![answer("200 OK", sent)]);
            let (kind, sha256) = (OutputKind::Pad, Sha256Digest::of(b"data"));
            let fetched = calls.fetch(&Output { kind, sha256, bytes: 4 }, &mut Vec::new());
            assert_eq!(fetched.is_ok(), is_taken, "{sent}");
        }
    }
}
