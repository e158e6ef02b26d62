//! `GET /logs/NAME`: what a container printed, with dstack's parameters as far as a log without
//! times has them.
//!
//! The file is the container's own output and rotates under the reader. What is held in memory is
//! one tail of bounded size, or one line; who follows gets lines as they come.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use containers::app::App;
use http_body_util::StreamBody;
use hyper::StatusCode;
use hyper::body::{Bytes, Frame};
use service::Answer;
use service::answer::{of_type, refusal, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

mod files;

use files::Follower;

/// Followers at a time, so that others still find a free connection.
pub const MAX_FOLLOWERS: usize = 16;
/// Lines where none are asked for, as dstack has it.
const DEFAULT_TAIL: usize = 1000;
/// Pieces that wait for a slow reader.
const WAITING_PIECES: usize = 2;
/// How often a followed file is looked at.
const POLL: Duration = Duration::from_millis(250);
/// How long a log is followed; whoever wants more asks again.
const FOLLOW_WITHIN: Duration = Duration::from_secs(500);
/// What is sent for people.
const TEXT: &str = "text/plain; charset=utf-8";
/// One JSON document a line.
const LINES: &str = "application/x-ndjson";

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    follow: bool,
    /// Text instead of base64.
    text: bool,
    /// The output alone instead of documents about it.
    bare: bool,
    /// Terminal commands stay in bare text.
    ansi: bool,
    tail: usize,
}

/// The log of a container or of a service's first one.
pub async fn answer(
    log_dir: &Path,
    app: &App,
    name: &str,
    query: Option<&str>,
    followers: &Arc<Semaphore>,
) -> Answer {
    let asked = match Asked::parse(query.unwrap_or_default()) {
        Ok(asked) => asked,
        Err(what) => {
            let hint =
                "known are follow, text, bare, ansi (true or false) and tail (a number or all)";
            return refusal(StatusCode::BAD_REQUEST, &what, hint);
        }
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
    let path = log_dir.join(format!("{}.log", status.id));
    let (tail, follower) = {
        let (path, lines) = (path.clone(), asked.tail);
        match tokio::task::spawn_blocking(move || files::tail(&path, lines)).await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => {
                return refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), "ask again");
            }
            Err(error) => {
                return refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), "ask again");
            }
        }
    };
    let first = asked.rendered(&tail);
    if !asked.follow {
        return of_type(StatusCode::OK, asked.content_type(), first);
    }
    match Arc::clone(followers).try_acquire_owned() {
        Ok(place) => follow(path, first, follower, asked, place),
        Err(_) => refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            &format!("{MAX_FOLLOWERS} logs are followed already"),
            "ask without follow, or again later",
        ),
    }
}

/// Sends `first`, then what is added, for as long as somebody reads.
fn follow(
    path: PathBuf,
    first: Vec<u8>,
    mut follower: Follower,
    asked: Asked,
    place: OwnedSemaphorePermit,
) -> Answer {
    let content_type = asked.content_type();
    let (sender, pieces) = mpsc::channel::<Bytes>(WAITING_PIECES);
    tokio::spawn(async move {
        let _place = place;
        let end = Instant::now() + FOLLOW_WITHIN;
        let mut piece = first;
        while Instant::now() < end && !sender.is_closed() {
            if !piece.is_empty() && sender.send(piece.into()).await.is_err() {
                return;
            }
            let path = path.clone();
            let read = tokio::task::spawn_blocking(move || {
                let read = follower.read(&path);
                (follower, read)
            });
            let Ok((back, Ok(lines))) = read.await else { return };
            follower = back;
            piece = asked.rendered(&lines);
            if lines.is_empty() {
                tokio::time::sleep(POLL).await;
            }
        }
    });
    let frames = futures_util::stream::unfold(pieces, |mut pieces| async move {
        let piece = pieces.recv().await?;
        Some((Ok(Frame::data(piece)), pieces))
    });
    stream(StatusCode::OK, content_type, StreamBody::new(frames))
}

impl Asked {
    fn parse(query: &str) -> Result<Self, String> {
        let mut asked =
            Self { follow: false, text: false, bare: false, ansi: false, tail: DEFAULT_TAIL };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "follow" => asked.follow = truth(key, value)?,
                "text" => asked.text = truth(key, value)?,
                "bare" => asked.bare = truth(key, value)?,
                "ansi" => asked.ansi = truth(key, value)?,
                "tail" if value == "all" => asked.tail = usize::MAX,
                "tail" => {
                    asked.tail =
                        value.parse().map_err(|_| "tail: neither a number nor all".to_owned())?
                }
                "since" | "until" if matches!(value, "" | "0") => {}
                "timestamps" if !truth(key, value)? => {}
                "since" | "until" | "timestamps" => {
                    return Err(format!(
                        "{key}: lines are kept as the container wrote them, without times"
                    ));
                }
                _ => return Err("a parameter that no log has".to_owned()),
            }
        }
        Ok(asked)
    }

    fn content_type(&self) -> &'static str {
        if self.bare { TEXT } else { LINES }
    }

    /// The lines in the form that was asked for.
    fn rendered(&self, output: &[u8]) -> Vec<u8> {
        match (self.bare, self.text) {
            (true, true) if self.ansi => String::from_utf8_lossy(output).into_owned().into_bytes(),
            (true, true) => String::from_utf8_lossy(&strip_ansi_escapes::strip(output))
                .into_owned()
                .into_bytes(),
            (true, false) => STANDARD.encode(output).into_bytes(),
            (false, text) => output
                .split_inclusive(|byte| *byte == b'\n')
                .flat_map(|line| document(line, text))
                .collect(),
        }
    }
}

/// dstack's document of one line; both streams of a container are one here.
fn document(line: &[u8], text: bool) -> Vec<u8> {
    let message =
        if text { String::from_utf8_lossy(line).into_owned() } else { STANDARD.encode(line) };
    let mut document =
        serde_json::json!({ "channel": "stdout", "message": message }).to_string().into_bytes();
    document.push(b'\n');
    document
}

fn truth(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "" | "true" | "1" | "on" | "yes" => Ok(true),
        "false" | "0" | "off" | "no" => Ok(false),
        _ => Err(format!("{key}: neither true nor false")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dstacks_parameters_are_read_and_times_refused() {
        let asked =
            Asked::parse("text&bare=true&follow=false&tail=20&timestamps=false&since=0").unwrap();
        assert_eq!(asked, Asked { follow: false, text: true, bare: true, ansi: false, tail: 20 });
        assert_eq!(Asked::parse("").unwrap().tail, DEFAULT_TAIL);
        assert_eq!(Asked::parse("tail=all").unwrap().tail, usize::MAX);
        for refused in ["since=10m", "timestamps", "tail=x", "tail=-1", "text=maybe", "more=1"] {
            assert!(Asked::parse(refused).is_err(), "{refused}");
        }
    }

    #[tokio::test]
    async fn a_followed_log_goes_on_until_nobody_reads() {
        use http_body_util::BodyExt as _;

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web-1.log");
        std::fs::write(&path, "first\n").unwrap();
        let (tail, follower) = files::tail(&path, 10).unwrap();
        let asked = Asked::parse("follow&text&bare").unwrap();
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let first = asked.rendered(&tail);
        let mut body = follow(path.clone(), first, follower, asked, place).into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first\n");
        std::fs::write(&path, "first\nsecond\nthi").unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "second\n");
        drop(body);
        let freed = tokio::time::timeout(10 * POLL, places.acquire()).await;
        assert!(freed.is_ok(), "the follower's place is free again");
    }

    #[test]
    fn output_is_rendered_in_dstacks_forms() {
        let rendered = |query: &str| {
            String::from_utf8(Asked::parse(query).unwrap().rendered(b"\x1b[1mhi\x1b[0m\nho"))
                .unwrap()
        };
        assert_eq!(rendered("text&bare"), "hi\nho");
        assert_eq!(rendered("text&bare&ansi"), "\u{1b}[1mhi\u{1b}[0m\nho");
        assert_eq!(rendered("bare"), STANDARD.encode(b"\x1b[1mhi\x1b[0m\nho"));
        let lines = rendered("text");
        let second: serde_json::Value =
            serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
        assert_eq!(second, serde_json::json!({ "channel": "stdout", "message": "ho" }));
    }
}
