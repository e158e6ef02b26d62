//! A new version of an app gets the data of the one before on trial.
//!
//! Before the first start under another compose hash the volumes are kept by a snapshot. Once every
//! service is as the compose file asks, the snapshot is given up; if that does not happen in time,
//! the guest of the new version puts the volumes back, anchors the disk and ends. All of it follows
//! from the measured hash, a record on the disk and what the app does: no hint of the host puts
//! anything back.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use containers::app::App;
use protocol::digest::ComposeHash;
use protocol::strict_json::JsonError;

use record::{Record, Step};
use trial::Trial;
pub use trial::Verdict;
use volumes::Volumes;

mod record;
mod trial;
mod volumes;

/// Name of the record, beside the volumes.
const RECORD: &str = "version.json";

/// Why the volumes cannot be kept or put back.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// the disk
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// What was changed.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// a record that no guest wrote
    #[error("the record of the app's version: {0}")]
    Record(#[from] JsonError),
}

impl UpgradeError {
    fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// A version whose first start this is, and what the app goes back to without it.
#[derive(Debug)]
pub struct OnTrial {
    directory: PathBuf,
    volumes: Volumes,
    record: Record,
    version: ComposeHash,
}

/// Makes the volumes in `directory` ready for a start of `version`, before anything of it runs.
///
/// # Errors
/// If the disk refuses, or holds a record that cannot be read.
pub fn begin(directory: &Path, version: ComposeHash) -> Result<Option<OnTrial>, UpgradeError> {
    let volumes = Volumes::ensure(directory).map_err(UpgradeError::io(directory))?;
    let path = directory.join(RECORD);
    let mut record = Record::read(&path)?;
    let step = loop {
        match (Step::before(record.as_ref(), version), &mut record) {
            (Step::Undo, Some(of_other)) => {
                tracing::warn!(
                    "the volumes are put back as version {} left them",
                    of_other.settled
                );
                undo(directory, &volumes, of_other)?;
            }
            (step, _) => break step,
        }
    };
    let record = record.unwrap_or_else(|| Record::settled(version));
    let on_trial = Record { on_trial: Some(version), ..record };
    match step {
        Step::Settle => record.write(&path)?,
        Step::Begin => {
            tracing::info!("version {version} is on trial, after version {}", record.settled);
            volumes.keep().map_err(UpgradeError::io(directory))?;
            on_trial.write(&path)?;
        }
        Step::Run => volumes.forget().map_err(UpgradeError::io(directory))?,
        Step::GoOn | Step::Undo => {}
    }
    let begins = matches!(step, Step::Begin | Step::GoOn);
    let directory = directory.to_owned();
    Ok(begins.then_some(OnTrial { directory, volumes, record: on_trial, version }))
}

/// Puts the volumes back, in steps that a power cut cannot leave half done.
fn undo(directory: &Path, volumes: &Volumes, record: &mut Record) -> Result<(), UpgradeError> {
    let path = directory.join(RECORD);
    record.undoing = true;
    record.write(&path)?;
    volumes.put_back().map_err(UpgradeError::io(directory))?;
    *record = Record::settled(record.settled);
    record.write(&path)
}

impl OnTrial {
    /// Waits until the version came to run, which settles it, or did not in time; then nothing of
    /// it runs any more and the volumes are as they were.
    ///
    /// # Errors
    /// If the volumes could not be put back.
    pub async fn watch(mut self, app: &App) -> Result<Verdict, UpgradeError> {
        let mut states = app.states();
        let mut trial = Trial::new(Instant::now());
        loop {
            let verdict = trial.judge(&states.borrow_and_update(), Instant::now());
            match verdict {
                Verdict::Open(until) => {
                    let until = tokio::time::Instant::from_std(until);
                    // Once nobody drives the app, its state stays as it is.
                    tokio::select! {
                        Ok(()) = states.changed() => {}
                        () = tokio::time::sleep_until(until) => {}
                    }
                }
                Verdict::Runs => {
                    if let Err(error) = self.settle() {
                        tracing::error!("the trial goes on with the next start: {error}");
                    }
                    return Ok(verdict);
                }
                Verdict::Fails => {
                    tracing::error!(
                        "version {} does not come to run; the volumes are put back as version {} left them",
                        self.version,
                        self.record.settled
                    );
                    app.stop().await;
                    undo(&self.directory, &self.volumes, &mut self.record)?;
                    return Ok(verdict);
                }
            }
        }
    }

    /// The record first: what is kept is given up only when nothing goes back to it.
    fn settle(&self) -> Result<(), UpgradeError> {
        Record::settled(self.version).write(&self.directory.join(RECORD))?;
        tracing::info!("version {} runs, and its data are kept", self.version);
        self.volumes.forget().map_err(UpgradeError::io(&self.directory))
    }
}
