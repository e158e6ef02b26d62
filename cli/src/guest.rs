//! A guest as its user sees it: over its public port, or as an owner over a channel.

use std::io::{BufRead as _, BufReader, Read};
use std::time::Duration;

use protocol::app_status::{self, Document};

use crate::endpoint::{HINT, TIMEOUT, address, bounded, open, refused};
use crate::failure::{Hint as _, Outcome};
use crate::owners_view::View;
use crate::vm::Vm;

/// Longest line of a log that is shown as one; a longer one is shown in pieces.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// A guest as this user sees it.
pub enum Guest {
    /// Over its public port, at this address.
    Public(String),
    /// Over a channel, as an owner whom its measured file names.
    Owner(Box<View>),
}

impl Guest {
    /// The guest of a machine: as an owner where its app names this user's key.
    pub fn of(vm: &Vm) -> Outcome<Self> {
        let view = View::open(vm)?;
        Ok(view.map_or_else(|| Self::Public(vm.agent_url.clone()), |view| Self::Owner(view.into())))
    }

    fn open(&mut self, path: &str, timeout: Option<Duration>) -> Outcome<Box<dyn Read + '_>> {
        match self {
            Self::Public(url) => Ok(Box::new(open(&address(url, path), timeout)?.into_reader())),
            Self::Owner(view) => match view.get(path, timeout)? {
                (200, body) => Ok(Box::new(body)),
                (status, body) => Err(refused(path, status, body)),
            },
        }
    }
}

/// A document about the app, such as `/ps`; a guest whose app does not publish it says so.
pub fn document<D: Document>(guest: &mut Guest, path: &str) -> Outcome<D> {
    let body = bounded(guest.open(path, Some(TIMEOUT))?, path, app_status::MAX_BYTES)?;
    D::parse(&body).hint(path, "this is not a dstyx guest of this version")
}

/// Gives every line of an answer to `line` as it comes, until the guest ends it or `line` is false.
pub fn lines(guest: &mut Guest, path: &str, mut line: impl FnMut(&str) -> bool) -> Outcome<()> {
    let mut reader = BufReader::new(guest.open(path, None)?);
    loop {
        let mut bytes = Vec::new();
        reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes).hint(path, HINT)?;
        if bytes.is_empty() || !line(&String::from_utf8_lossy(&bytes)) {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;

    use protocol::app_status::Events;

    use super::*;

    /// A guest that gives one answer.
    fn guest(answer: String) -> Guest {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        });
        Guest::Public(url)
    }

    fn answer(status: &str, body: &str) -> String {
        format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    #[test]
    fn a_refusal_is_the_guests_own_sentence() {
        let mut refusing =
            guest(answer("403 Forbidden", r#"{"error":"not public","hint":"set it"}"#));
        let failure = document::<Events>(&mut refusing, "/events").unwrap_err();
        assert_eq!(
            (failure.to_string().as_str(), failure.hint.as_str()),
            ("the guest says: not public", "set it")
        );
        let failure =
            document::<Events>(&mut guest(answer("500 No", "<html>")), "/events").unwrap_err();
        assert!(failure.to_string().ends_with("status 500"), "{failure}");
    }

    #[test]
    fn documents_are_strict_and_bounded() {
        assert_eq!(
            document::<Events>(&mut guest(answer("200 OK", r#"{"events":[]}"#)), "/")
                .unwrap()
                .events,
            []
        );
        assert!(
            document::<Events>(&mut guest(answer("200 OK", r#"{"events":[],"x":1}"#)), "/")
                .is_err()
        );
        let endless = answer("200 OK", &" ".repeat(app_status::MAX_BYTES + 1));
        let failure = document::<Events>(&mut guest(endless), "/").unwrap_err();
        assert!(failure.to_string().contains("more than"), "{failure}");
    }

    #[test]
    fn lines_come_one_by_one_and_none_is_endless() {
        let text = format!("a\n{}\nlast", "x".repeat(MAX_LINE_BYTES as usize));
        let mut lengths = Vec::new();
        lines(&mut guest(answer("200 OK", &text)), "/", |line| {
            lengths.push(line.len());
            true
        })
        .unwrap();
        assert_eq!(lengths, [2, MAX_LINE_BYTES as usize, 1, 4]);
    }
}
