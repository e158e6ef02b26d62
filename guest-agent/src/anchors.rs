//! Anchors: what the KMS is told of how far the data disk has come, so that no older state of it is
//! ever accepted again.
//!
//! A generation is told only once it is on the disk whole: a file system's sync, then a commit, and
//! the number that this very commit has. (The number of the running transaction would lock the disk
//! out for good after a power cut.) Between two anchors the host can still put the disk back to the
//! last one, as a whole; so an anchor is made at fixed times, at the end, and whenever a program of
//! the app asks for one. A KMS that says that a later boot has the disk ends this guest.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use protocol::kms::{AnchorRequest, AnchorResponse, GENERATION_BITS};
use protocol::status::{Phase, Refusal};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use crate::kms_client::{KmsClient, KmsError};
use crate::reports::Reports;
use crate::sys;

/// Time between two anchors: how much of a guest's work its host can undo by killing it.
const PERIOD: Duration = Duration::from_secs(120);
/// Time until the next try, where one failed.
const RETRY: Duration = Duration::from_secs(15);
/// After this long without an anchor the status channel says so.
const LATE_AFTER: Duration = Duration::from_secs(600);
/// How long the last anchor may take: init ends the machine 90 s after it was asked to, of which
/// the app has 80.
const LAST_WITHIN: Duration = Duration::from_secs(5);
/// Requests that may wait for an anchor: each takes a commit and a call.
const MAX_WAITING: usize = 32;
/// The call.
const METHOD: &str = "Anchor";

/// Why there is no anchor.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// too many are asking
    #[error("{MAX_WAITING} requests for anchors are waiting already")]
    Busy,
    /// the disk
    #[error("the data disk cannot be synced: {0}")]
    Sync(#[from] io::Error),
    /// a generation that this mount cannot have
    #[error("generation {generation} is not one of open counter {open_counter}")]
    Window {
        /// What the kernel committed.
        generation: u64,
        /// The number of this mount.
        open_counter: u64,
    },
    /// the KMS
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// an answer that confirms something else
    #[error("the KMS keeps the anchor {found}, expected {expected} or more")]
    Answer {
        /// The anchor in the answer.
        found: u64,
        /// What was told.
        expected: u64,
    },
    /// the thread that syncs was lost
    #[error("the anchor was not finished: {0}")]
    Lost(#[from] tokio::task::JoinError),
}

/// The mounted data disk, as far as its KMS is told of it.
#[derive(Debug)]
pub struct Anchors {
    kms: Arc<KmsClient>,
    reports: Reports,
    mount_point: Arc<File>,
    open_counter: u64,
    waiting: Semaphore,
    turn: Mutex<()>,
}

impl Anchors {
    /// For the disk that is mounted at `mount_point` under this open counter.
    pub fn new(
        kms: Arc<KmsClient>,
        reports: Reports,
        mount_point: File,
        open_counter: u64,
    ) -> Self {
        Self {
            kms,
            reports,
            mount_point: Arc::new(mount_point),
            open_counter,
            waiting: Semaphore::new(MAX_WAITING),
            turn: Mutex::default(),
        }
    }

    /// The first anchor of this mount, before which nothing of the app may run; waits for a KMS
    /// that is away.
    pub async fn first(&self) -> Result<u64, AnchorError> {
        let request = self.commit().await?;
        let answer: AnchorResponse =
            self.kms.wait_for(Phase::KeysReleased, METHOD, &request).await?;
        confirmed(&request, &answer)
    }

    /// Makes an anchor and waits until the KMS confirmed it: what was written before is then safe
    /// from being undone. Where a later boot has the disk, this guest ends.
    pub async fn anchor(&self) -> Result<u64, AnchorError> {
        let _place = self.waiting.try_acquire().map_err(|_| AnchorError::Busy)?;
        let _turn = self.turn.lock().await;
        let request = self.commit().await?;
        let answer: Result<AnchorResponse, _> = self.kms.call(METHOD, &request).await;
        if let Err(error @ KmsError::Superseded(_)) = &answer {
            tracing::error!("{error}");
            self.reports.send(Phase::SystemReady, Refusal::Superseded);
        }
        confirmed(&request, &answer?)
    }

    /// Makes anchors again and again, and says on the status channel when there is none for long.
    pub async fn keep(&self) {
        let (mut last, mut wait, mut late) = (Instant::now(), PERIOD, false);
        loop {
            sleep(wait).await;
            match self.anchor().await {
                Ok(generation) => {
                    tracing::debug!("anchored at generation {generation}");
                    (last, wait) = (Instant::now(), PERIOD);
                    if std::mem::take(&mut late) {
                        self.reports.send(Phase::SystemReady, Refusal::None);
                    }
                }
                Err(error) => {
                    tracing::warn!("no anchor: {error}");
                    wait = RETRY;
                    if !late && last.elapsed() > LATE_AFTER {
                        late = true;
                        self.reports.send(Phase::SystemReady, Refusal::AnchorLate);
                    }
                }
            }
        }
    }

    /// The anchor of a guest whose app has stopped.
    pub async fn last(&self) {
        match timeout(LAST_WITHIN, self.anchor()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!("no last anchor: {error}"),
            Err(_) => tracing::warn!("no last anchor within {} s", LAST_WITHIN.as_secs()),
        }
    }

    /// A generation that holds everything written before, and is on the disk.
    async fn commit(&self) -> Result<AnchorRequest, AnchorError> {
        let mount_point = Arc::clone(&self.mount_point);
        let committed = tokio::task::spawn_blocking(move || sys::commit_btrfs(&mount_point));
        let (generation, open_counter) = (committed.await??, self.open_counter);
        if generation >> GENERATION_BITS != open_counter {
            return Err(AnchorError::Window { generation, open_counter });
        }
        Ok(AnchorRequest { open_counter, generation })
    }
}

fn confirmed(request: &AnchorRequest, answer: &AnchorResponse) -> Result<u64, AnchorError> {
    let (found, expected) = (answer.anchor, request.generation);
    if found < expected { Err(AnchorError::Answer { found, expected }) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_only_if_it_keeps_what_was_told() {
        let request = AnchorRequest { open_counter: 1, generation: 10 };
        let answer = |anchor| confirmed(&request, &AnchorResponse { anchor });
        assert_eq!(answer(10).unwrap(), 10);
        assert_eq!(answer(11).unwrap(), 11);
        assert!(matches!(answer(9), Err(AnchorError::Answer { found: 9, expected: 10 })));
    }
}
