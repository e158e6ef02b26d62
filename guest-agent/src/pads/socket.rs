//! The calls on `pads.sock` of one service.
//!
//! The service is a container of the app and believed nothing. Its files, its runs and their
//! outcomes are its own: the listener says which service asks, and no other one sees them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http_body_util::{BodyExt as _, Limited, StreamBody};
use hyper::body::{Body as _, Bytes, Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use hyper::{Method, Request, StatusCode};
use pad_format::run::RunId;
use protocol::digest::Sha256Digest;
use protocol::pad_calls::{self, Drawn, FileInfo, MAX_BYTES, Outcome, Output, OutputKind};
use service::answer::{JSON, json, of_type, stream};
use service::{Answer, Answers};
use tokio::sync::Semaphore;

use super::Shared;
use super::files::{Files, FilesError, Writing};
use super::jobs::{self, Guest, Spooled};
use super::refused::Refused;

/// Bytes of a file that are written or read at a time.
const PIECE_BYTES: usize = 256 << 10;
/// Outcomes that a service may ask for again.
const MAX_OUTCOMES: usize = 16;
/// Refusals that an outcome has: more than a person reads.
const MAX_REFUSALS: usize = 256;
/// Type of a file.
const OCTETS: &str = "application/octet-stream";

/// One service's socket.
pub struct Socket {
    shared: Arc<Shared>,
    files: Arc<Files>,
    turn: Arc<Semaphore>,
    runs: Arc<Runs>,
}

/// Its last runs; one that goes on has no outcome yet.
#[derive(Debug, Default)]
struct Runs(Mutex<VecDeque<(RunId, Option<Outcome>)>>);

impl Runs {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(RunId, Option<Outcome>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn began(&self, run: RunId) {
        let mut runs = self.lock();
        runs.retain(|(known, _)| *known != run);
        runs.push_back((run, None));
        if runs.len() > MAX_OUTCOMES {
            runs.pop_front();
        }
    }

    fn ended(&self, run: RunId, outcome: Option<&Outcome>) {
        let mut runs = self.lock();
        match outcome {
            None => runs.retain(|(known, _)| *known != run),
            Some(outcome) => {
                let known = runs.iter_mut().find(|(known, _)| *known == run);
                known.into_iter().for_each(|(_, kept)| *kept = Some(outcome.clone()));
            }
        }
    }
}

impl Socket {
    /// For a service with these files.
    pub fn new(shared: Arc<Shared>, files: Files) -> Self {
        let turn = Arc::new(Semaphore::new(1));
        Self { shared, files: Arc::new(files), turn, runs: Arc::default() }
    }

    async fn called(&self, request: Request<Incoming>) -> Result<Answer, Refused> {
        let path = request.uri().path().to_owned();
        let file = path.strip_prefix("/files/").map(Sha256Digest::from_hex);
        match (request.method(), path.as_str(), file) {
            (&Method::POST, "/draw", _) => self.draw().await,
            (&Method::POST, "/run", _) => self.run(request).await,
            (&Method::POST, "/update", _) => self.update(request).await,
            (&Method::GET, "/files", _) => Ok(document(&self.files.list())),
            (&Method::PUT, _, Some(Ok(digest))) => self.put(digest, request.into_body()).await,
            (&Method::GET, _, Some(Ok(digest))) => self.get(&digest),
            (&Method::DELETE, _, Some(Ok(digest))) => match self.files.remove(&digest)? {
                true => Ok(json(b"{}".to_vec())),
                false => Err(Refused::NoFile(digest)),
            },
            (&Method::GET, path, _) => match path.strip_prefix("/runs/") {
                Some(run) => self.outcome(run),
                None => Err(Refused::Path),
            },
            _ => Err(Refused::Path),
        }
    }

    async fn draw(&self) -> Result<Answer, Refused> {
        let now = self.shared.now_secs();
        let run = self.shared.runner.ask(move |bench| bench.draw(now)).await??;
        let (run, exporter) = (run.0.to_vec(), self.shared.exporter.to_vec());
        Ok(document(&Drawn { run, exporter }))
    }

    fn guest(&self) -> Guest {
        Guest { exporter: self.shared.exporter, now: self.shared.now_secs() }
    }

    async fn run(&self, request: Request<Incoming>) -> Result<Answer, Refused> {
        let request: pad_calls::RunRequest = read(request).await?;
        let turn = Arc::clone(&self.turn).try_acquire_owned().map_err(|_| Refused::Busy)?;
        let programs = |service: &str| self.shared.app.program(service)?.open().ok();
        let job = jobs::run(request, &self.files, self.guest(), programs)?;
        let (run, runs) = (job.run, Arc::clone(&self.runs));
        let mut spooled = Spooled::into_files(Arc::clone(&self.files));
        runs.began(run);
        let done = self.shared.runner.ask(move |bench| {
            // The run goes on without whoever asked for it, and so do its turn and its outcome.
            let _turn = turn;
            let ended = bench.run(job, &mut spooled);
            let outcome = ended.map(|ended| outcome(run, ended, spooled.outputs));
            runs.ended(run, outcome.as_ref().ok());
            outcome
        });
        Ok(document(&self.done(run, done.await)??))
    }

    async fn update(&self, request: Request<Incoming>) -> Result<Answer, Refused> {
        if !self.shared.keeps_disk {
            return Err(Refused::NothingKept);
        }
        let request: pad_calls::UpdateRequest = read(request).await?;
        let turn = Arc::clone(&self.turn).try_acquire_owned().map_err(|_| Refused::Busy)?;
        let (replacement, writing) = jobs::update(request, &self.files, self.guest())?;
        let (run, runs) = (replacement.run, Arc::clone(&self.runs));
        runs.began(run);
        let done = self.shared.runner.ask(move |bench| {
            let _turn = turn;
            let outcome = updated(run, bench.update(replacement)?, writing);
            runs.ended(run, outcome.as_ref().ok());
            outcome
        });
        Ok(document(&self.done(run, done.await)??))
    }

    /// A run that never began, because others wait, leaves no trace.
    fn done<T>(
        &self,
        run: RunId,
        done: Result<T, super::runner::RunnerError>,
    ) -> Result<T, Refused> {
        done.map_err(|error| {
            self.runs.ended(run, None);
            error.into()
        })
    }

    fn outcome(&self, run: &str) -> Result<Answer, Refused> {
        let run = hex::decode(run).ok().and_then(|bytes| jobs::run_id(&bytes).ok());
        let runs = self.runs.lock();
        let (_, outcome) =
            runs.iter().find(|(known, _)| Some(*known) == run).ok_or(Refused::NoRun)?;
        Ok(match outcome {
            Some(outcome) => document(outcome),
            None => of_type(StatusCode::ACCEPTED, JSON, b"{}".to_vec()),
        })
    }

    async fn put(&self, digest: Sha256Digest, mut body: Incoming) -> Result<Answer, Refused> {
        let expected = body.size_hint().exact().ok_or(Refused::Length { found: 0, expected: 0 })?;
        let mut writing = self.files.begin(expected)?;
        let (mut piece, mut found) = (Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            let broken = Refused::Length { found, expected };
            if let Ok(data) = frame.map_err(|_| broken)?.into_data() {
                found += data.len() as u64;
                piece.extend_from_slice(&data);
            }
            if piece.len() >= PIECE_BYTES {
                writing = written(writing, std::mem::take(&mut piece)).await?;
            }
        }
        if found != expected {
            return Err(Refused::Length { found, expected });
        }
        let info = written(writing, piece).await?.finish(Some(digest))?;
        Ok(of_type(StatusCode::CREATED, JSON, to_json(&info)))
    }

    fn get(&self, digest: &Sha256Digest) -> Result<Answer, Refused> {
        use std::os::unix::fs::FileExt as _;
        let kept = self.files.get(digest).ok_or(Refused::NoFile(*digest))?;
        let (file, bytes) = (Arc::new(kept.reader().map_err(FilesError::from)?), kept.bytes());
        let frames = futures_util::stream::unfold((file, 0), |(file, at)| async move {
            let reader = Arc::clone(&file);
            let read = tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; PIECE_BYTES];
                let read = reader.read_at(&mut piece, at).ok()?;
                piece.truncate(read);
                Some(piece)
            });
            let piece = read.await.ok().flatten().filter(|piece| !piece.is_empty())?;
            let next = at + piece.len() as u64;
            Some((Ok(Frame::data(Bytes::from(piece))), (file, next)))
        });
        let mut answer = stream(StatusCode::OK, OCTETS, StreamBody::new(frames));
        answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(bytes));
        Ok(answer)
    }
}

impl Answers for Socket {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        self.called(request).await.unwrap_or_else(|refused| refused.answer())
    }
}

async fn read<T: serde::de::DeserializeOwned>(request: Request<Incoming>) -> Result<T, Refused> {
    let body = Limited::new(request.into_body(), MAX_BYTES).collect().await;
    // Either too large, or broken off by the client, who then reads nothing.
    let body = body.map_err(|_| Refused::TooLarge)?.to_bytes();
    Ok(pad_calls::parse(&body)?)
}

/// Writes on a thread of its own: the disk may keep its writer waiting.
async fn written(mut writing: Writing, piece: Vec<u8>) -> Result<Writing, Refused> {
    let written = tokio::task::spawn_blocking(move || {
        writing.write(&piece)?;
        Ok::<_, FilesError>(writing)
    });
    let lost = |error: tokio::task::JoinError| FilesError::Io(std::io::Error::other(error));
    Ok(written.await.map_err(lost)??)
}

fn outcome(run: RunId, ended: pad_supervisor::Outcome, outputs: Vec<Output>) -> Outcome {
    let mut refusals = ended.refusals;
    refusals.truncate(MAX_REFUSALS);
    Outcome { run: run.0.to_vec(), ended: ended.ended.err(), refusals, outputs }
}

/// The outcome of a change of policies, with the new Pad's file if there is one.
fn updated(
    run: RunId,
    ended: pad_supervisor::Outcome,
    writing: Writing,
) -> Result<Outcome, Refused> {
    let is_replaced = ended.ended.is_ok() && ended.refusals.is_empty();
    if !is_replaced {
        writing.abandon().map_err(FilesError::from)?;
        return Ok(outcome(run, ended, Vec::new()));
    }
    let FileInfo { sha256, bytes } = writing.finish_given_away()?;
    Ok(outcome(run, ended, vec![Output { kind: OutputKind::Pad, sha256, bytes }]))
}

fn document(document: &impl serde::Serialize) -> Answer {
    json(to_json(document))
}

fn to_json(document: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("strings, numbers and digests serialise")
}
