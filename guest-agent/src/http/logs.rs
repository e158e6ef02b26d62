//! `GET /logs/NAME`: what a container printed, with dstack's parameters.
//!
//! The file is the container's own output and rotates under the reader. An answer is a stream of
//! pieces: each is read and rendered when the client has taken the one before it, on a thread of
//! its own. So an answer costs one piece of memory, whatever the log's length and however slowly
//! its client reads.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use containers::app::App;
use http_body_util::StreamBody;
use hyper::StatusCode;
use hyper::body::{Bytes, Frame};
use protocol::log_record::{End, Record, Stream};
use service::Answer;
use service::answer::{refusal, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

mod asked;
mod files;
mod rendered;

use asked::Asked;
use files::Reader;
use rendered::{Renderer, Selection};

/// Followers at a time, so that others still find a free connection.
pub const MAX_FOLLOWERS: usize = 16;
/// How often a followed file is looked at.
const POLL: Duration = Duration::from_millis(250);
/// How long a log is followed; whoever wants more asks again.
const FOLLOW_WITHIN: Duration = Duration::from_secs(500);
/// Content type for people.
const TEXT: &str = "text/plain; charset=utf-8";
/// Content type of one JSON document a line.
const LINES: &str = "application/x-ndjson";

/// The log of a container or of a service's first one.
pub async fn answer(
    log_dir: &Path,
    app: &App,
    name: &str,
    query: Option<&str>,
    followers: &Arc<Semaphore>,
) -> Answer {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let asked = match Asked::parse(query.unwrap_or_default(), now) {
        Ok(asked) => asked,
        Err(what) => return refusal(StatusCode::BAD_REQUEST, &what, asked::HINT),
    };
    let statuses = app.status();
    let found = statuses.iter().find(|status| status.id == name);
    let Some(status) = found.or_else(|| statuses.iter().find(|status| status.service == name))
    else {
        return refusal(
            StatusCode::NOT_FOUND,
            "no container of this name",
            "GET /ps shows them, if the app allows",
        );
    };
    let following = match asked.follow.then(|| Arc::clone(followers).try_acquire_owned()) {
        None => None,
        Some(Ok(place)) => Some(Following { end: Instant::now() + FOLLOW_WITHIN, _place: place }),
        Some(Err(_)) => {
            return refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                &format!("{MAX_FOLLOWERS} logs are followed already"),
                "ask without follow, or again later",
            );
        }
    };
    let path = log_dir.join(format!("{}.log", status.id));
    let content_type = if asked.bare { TEXT } else { LINES };
    match tokio::task::spawn_blocking(move || Output::open(&path, asked, following)).await {
        Ok(Ok(output)) => stream(StatusCode::OK, content_type, StreamBody::new(frames(output))),
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> Answer {
    refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), "ask again")
}

/// A log that is followed: until when, and its place among the followers.
struct Following {
    end: Instant,
    _place: OwnedSemaphorePermit,
}

/// The rest of an answer.
struct Output {
    reader: Reader,
    selection: Selection,
    renderer: Renderer,
    until: Option<Duration>,
    /// What was there when the log was opened has been sent.
    caught_up: bool,
    following: Option<Following>,
}

/// What can be sent next.
enum Piece {
    Bytes(Vec<u8>),
    /// Nothing now, but perhaps later.
    Later,
    End,
}

impl Output {
    /// Finds where the lines that are asked for begin: counts them, and goes back.
    fn open(path: &Path, asked: Asked, following: Option<Following>) -> io::Result<Self> {
        let mut reader = Reader::open(path)?;
        let mut skip = 0;
        if asked.tail < u64::MAX {
            let mut counted = Selection::new(&asked, 0);
            let mut lines: u64 = 0;
            loop {
                let records = reader.read()?;
                if records.is_empty() {
                    break;
                }
                lines += self::records(&records)
                    .filter(|record| counted.shows(record) == Some(true))
                    .count() as u64;
            }
            skip = lines.saturating_sub(asked.tail);
        }
        reader.rewind()?;
        let (selection, renderer) = (Selection::new(&asked, skip), Renderer::new(&asked));
        let until = asked.until;
        Ok(Self { reader, selection, renderer, until, caught_up: false, following })
    }

    /// Reads on until there is something to send.
    fn piece(&mut self) -> io::Result<Piece> {
        loop {
            let read = if self.caught_up { self.reader.read_on()? } else { self.reader.read()? };
            let mut bytes = Vec::new();
            let mut over = read.is_empty() && (self.caught_up || self.following.is_none());
            for record in records(&read) {
                over |= self.until.is_some_and(|until| record.at > until);
                if let Some(begins) = self.selection.shows(&record) {
                    self.renderer.add(&record, begins, &mut bytes);
                }
            }
            if self.following.is_some() || over {
                self.renderer.finish(&mut bytes);
            }
            if !bytes.is_empty() {
                return Ok(Piece::Bytes(bytes));
            }
            match &self.following {
                None if over => return Ok(Piece::End),
                Some(following) if over && (self.passed() || Instant::now() >= following.end) => {
                    return Ok(Piece::End);
                }
                Some(_) if over => return Ok(Piece::Later),
                _ => self.caught_up |= read.is_empty(),
            }
        }
    }

    /// Whether every later line is later than the last one that was asked for.
    fn passed(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.until.is_some_and(|until| now > until)
    }
}

/// The pieces of an answer, each made when it is wanted. The stream ends where reading fails: the
/// answer has begun, and nothing can be said any more.
fn frames(
    output: Output,
) -> impl futures_util::Stream<Item = Result<Frame<Bytes>, std::convert::Infallible>> {
    futures_util::stream::unfold(output, |mut output| async move {
        loop {
            let read = tokio::task::spawn_blocking(move || {
                let piece = output.piece();
                (output, piece)
            });
            let (back, piece) = read.await.ok()?;
            output = back;
            match piece.ok()? {
                Piece::Bytes(bytes) => return Some((Ok(Frame::data(bytes.into())), output)),
                Piece::Later => tokio::time::sleep(POLL).await,
                Piece::End => return None,
            }
        }
    })
}

/// The records of a piece. What is none, as after a disk's fault, is shown as a line without a
/// time.
fn records(piece: &[u8]) -> impl Iterator<Item = Record<'_>> {
    piece.split_inclusive(|byte| *byte == b'\n').map(|line| {
        Record::parse(line).unwrap_or_else(|| {
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            Record { at: Duration::ZERO, stream: Stream::Out, end: End::Line, text }
        })
    })
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn log(lines: &[(u32, &str)]) -> Vec<u8> {
        let mut log = Vec::new();
        for (at, text) in lines {
            let (at, text) = (*at * SECOND, text.as_bytes());
            Record { at, stream: Stream::Out, end: End::Line, text }.write(&mut log);
        }
        log
    }

    fn output(path: &Path, query: &str) -> Output {
        let asked = Asked::parse(query, 100 * SECOND).unwrap();
        let following = asked.follow.then(|| {
            let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
            Following { end: Instant::now() + FOLLOW_WITHIN, _place: place }
        });
        Output::open(path, asked, following).unwrap()
    }

    async fn body(path: &Path, query: &str) -> String {
        let body = StreamBody::new(frames(output(path, query))).collect().await.unwrap();
        String::from_utf8(body.to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_last_lines_of_a_time_are_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web-1.log");
        assert_eq!(body(&path, "text&bare").await, "");
        let lines = [(1, "a\tb"), (2, "c"), (3, "d"), (4, "e"), (5, "f")];
        std::fs::write(directory.path().join("web-1.log.1"), log(&lines[..3])).unwrap();
        std::fs::write(&path, log(&lines[3..])).unwrap();
        for (query, expected) in [
            ("tail=all", "a\tb\nc\nd\ne\nf\n"),
            ("tail=2", "e\nf\n"),
            ("tail=0", ""),
            ("tail=2&until=3", "c\nd\n"),
            ("since=4", "e\nf\n"),
            ("since=97s&until=4", "d\ne\n"),
            ("tail=1&timestamps", "1970-01-01T00:00:05.000000000Z f\n"),
        ] {
            assert_eq!(body(&path, &format!("text&bare&{query}")).await, expected, "{query}");
        }
    }

    #[tokio::test]
    async fn an_answer_of_many_short_lines_comes_in_small_pieces() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web-1.log");
        std::fs::write(&path, log(&vec![(1, ""); 100_000])).unwrap();
        let mut body = Box::pin(StreamBody::new(frames(output(&path, "tail=all"))));
        let (mut total, mut largest) = (0, 0);
        while let Some(frame) = body.frame().await {
            let length = frame.unwrap().into_data().unwrap().len();
            (total, largest) = (total + length, largest.max(length));
        }
        assert!(total > 3_000_000 && largest < 256 * 1024, "{total} bytes, {largest} at once");
    }

    #[tokio::test]
    async fn a_followed_log_goes_on_until_nobody_reads() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web-1.log");
        std::fs::write(&path, log(&[(1, "first")])).unwrap();
        let asked = Asked::parse("follow&text&bare", SECOND).unwrap();
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let following = Following { end: Instant::now() + FOLLOW_WITHIN, _place: place };
        let output = Output::open(&path, asked, Some(following)).unwrap();
        let mut body = Box::pin(StreamBody::new(frames(output)));
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first\n");
        let mut more = log(&[(1, "first"), (2, "second")]);
        more.extend(b"1796000000.0000");
        std::fs::write(&path, more).unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "second\n");
        drop(body);
        let freed = tokio::time::timeout(10 * POLL, places.acquire()).await;
        assert!(freed.is_ok(), "the follower's place is free again");
    }

    /// The runtime has one thread, here as in the guest: a file that keeps its reader waiting must
    /// not keep it.
    #[tokio::test]
    async fn a_file_that_keeps_its_reader_waiting_holds_nobody_else_up() {
        const GIVEN_UP_AFTER: Duration = Duration::from_secs(20);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web-1.log");
        let mut body = Box::pin(StreamBody::new(frames(output(&path, "follow&text&bare"))));
        // Whoever opens it to read waits for a writer.
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (served, waited) = std::sync::mpsc::channel();
        let writer = std::thread::spawn(move || {
            let in_time = waited.recv_timeout(GIVEN_UP_AFTER).is_ok();
            std::fs::File::options().write(true).open(path).map(|_| in_time)
        });
        let frame = tokio::time::timeout(SECOND, body.frame()).await;
        assert!(frame.is_err(), "{frame:?}");
        served.send(()).unwrap();
        assert!(writer.join().unwrap().unwrap(), "nobody else was served");
    }

    #[tokio::test]
    async fn a_followed_log_ends_at_the_time_that_was_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web-1.log");
        std::fs::write(&path, log(&[(1, "a"), (2, "b"), (3, "c")])).unwrap();
        let ended = tokio::time::timeout(10 * SECOND, body(&path, "follow&text&bare&until=2"));
        assert_eq!(ended.await.unwrap(), "a\nb\n");
    }
}
