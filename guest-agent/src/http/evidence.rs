//! `GET /evidence?nonce=`: the envelope, sent in pieces.
//!
//! An event log may have megabytes, and a client may read as slowly as it likes. So the log is sent
//! from its file, a piece at a time: an answer holds a quote and one piece.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::StreamBody;
use hyper::StatusCode;
use hyper::body::{Bytes, Frame};
use hyper::header::CONTENT_LENGTH;
use protocol::digest::decode_hex;
use protocol::evidence::Evidence;
use protocol::report_data::NONCE_BYTES;
use service::Answer;
use service::answer::{JSON, refusal, stream};
use tee::event_log::LogSnapshot;

use crate::boot::Boot;
use crate::quotes::{QuoteDesk, QuoteError, Quoted};

/// How evidence is asked for.
const HINT: &str = "ask GET /evidence?nonce=NONCE with 64 lower-case hexadecimal digits that were never used before";
/// Bytes of the log that are read at once.
const PIECE_BYTES: usize = 32 * 1024;

/// The page.
#[derive(Debug)]
pub struct EvidencePage {
    /// Base64 of the measured file, if the app publishes it: one text for all answers.
    app_compose: Option<Bytes>,
}

impl EvidencePage {
    /// For a completed boot.
    pub fn new(boot: &Boot) -> Self {
        let published = boot.app.public_tcbinfo;
        Self { app_compose: published.then(|| STANDARD.encode(&boot.app_compose).into()) }
    }

    /// Evidence over the nonce of the query.
    pub async fn answer(&self, boot: &Boot, desk: &QuoteDesk, query: Option<&str>) -> Answer {
        let Some(nonce) = query.and_then(|query| query.strip_prefix("nonce=")) else {
            return refusal(StatusCode::BAD_REQUEST, "the one parameter is nonce", HINT);
        };
        let nonce: [u8; NONCE_BYTES] = match decode_hex(nonce) {
            Ok(nonce) => nonce,
            Err(error) => {
                return refusal(StatusCode::BAD_REQUEST, &format!("nonce: {error}"), HINT);
            }
        };
        match desk.evidence(&nonce).await {
            Ok(quoted) => {
                let segments = self.segments(boot, nonce, quoted);
                let length: u64 = segments.iter().map(Segment::length_bytes).sum();
                let mut answer = stream(StatusCode::OK, JSON, StreamBody::new(frames(segments)));
                // A client can tell an answer that broke off.
                answer.headers_mut().insert(CONTENT_LENGTH, length.into());
                answer
            }
            Err(error @ QuoteError::Busy) => refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                &error.to_string(),
                "ask again in a second",
            ),
            Err(error) => {
                tracing::error!("evidence: {error}");
                refusal(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    &error.to_string(),
                    "ask again; if it stays, the host's quote service does not answer",
                )
            }
        }
    }

    fn segments(
        &self,
        boot: &Boot,
        nonce: [u8; NONCE_BYTES],
        Quoted { quote, log }: Quoted,
    ) -> VecDeque<Segment> {
        let evidence = Evidence {
            quote,
            event_log: Vec::new(),
            nonce,
            claims: boot.handover.claims.clone(),
            app_compose: self.app_compose.as_ref().map(|_| Vec::new()),
        };
        let [before, between, behind] = evidence.around_the_large_parts();
        let app_compose = self.app_compose.clone().unwrap_or_default();
        [
            Segment::Bytes(before.into()),
            Segment::Log { log, at: 0 },
            Segment::Bytes(between.into()),
            Segment::Bytes(app_compose),
            Segment::Bytes(behind.into()),
        ]
        .into()
    }
}

/// A part of the envelope.
enum Segment {
    Bytes(Bytes),
    /// The log from this byte on: its lines become the items of a list.
    Log {
        log: LogSnapshot,
        at: u64,
    },
}

impl Segment {
    /// Bytes of all pieces. Behind the log's last line stands no comma.
    fn length_bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Log { log, .. } => log.length_bytes().saturating_sub(1),
        }
    }

    /// The next piece; empty at the end.
    fn piece(&mut self) -> io::Result<Bytes> {
        match self {
            Self::Bytes(bytes) => Ok(std::mem::take(bytes)),
            Self::Log { log, at } => {
                let mut lines = log.read_at(*at, PIECE_BYTES)?;
                *at += lines.len() as u64;
                // An event is JSON without line breaks of its own.
                lines.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b',');
                if *at == log.length_bytes() {
                    lines.pop();
                }
                Ok(lines.into())
            }
        }
    }
}

/// The pieces of an answer, each read when it is wanted. The stream ends where reading fails, which
/// leaves the client without an end of the JSON.
fn frames(
    segments: VecDeque<Segment>,
) -> impl futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> {
    futures_util::stream::unfold(segments, |mut segments| async move {
        loop {
            let mut segment = segments.pop_front()?;
            let read = tokio::task::spawn_blocking(move || {
                let piece = segment.piece();
                (segment, piece)
            });
            let (segment, piece) = read.await.ok()?;
            let piece = piece.ok()?;
            if !piece.is_empty() {
                segments.push_front(segment);
                return Some((Ok(Frame::data(piece)), segments));
            }
        }
    })
}
