//! Reading a guest's status channel while it boots.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use protocol::status::{self, Phase, Record, Refusal};

use crate::failure::{Failure, Hint as _, Outcome};
use crate::output::Output;
use crate::vm::{Process, Vm};

/// How often the status disk is read.
const POLL: Duration = Duration::from_millis(20);
/// How long the boot of a machine that others wait for, and its container's start, may take.
const RUNS_WITHIN: Duration = Duration::from_secs(300);

/// Follows one guest.
#[derive(Debug)]
pub struct Watch {
    /// Its status disk.
    pub disk: PathBuf,
    /// QEMU, whose end ends the wait.
    pub qemu: Process,
    /// When the newest record was made that was reported already; a full disk drops the oldest.
    seen_micros: Option<u64>,
}

impl Watch {
    /// Nothing seen yet.
    pub fn new(disk: PathBuf, qemu: Process) -> Self {
        Self { disk, qemu, seen_micros: None }
    }

    /// Waits until one of `phases` is recorded; reports each new record. A refusal is returned as
    /// the record it is. While a guest says that it moves its disk, the wait begins anew.
    pub fn until(
        &mut self,
        phases: &[Phase],
        timeout: Duration,
        mut report: impl FnMut(&Record),
    ) -> Outcome<Record> {
        let mut deadline = Instant::now() + timeout;
        loop {
            // Asked before the disk is read: a machine that ends has written its last record by
            // then.
            let alive = self.qemu.alive();
            let records = self.records()?;
            let seen_micros = self.seen_micros;
            for record in records.iter().filter(|record| Some(record.uptime_micros) > seen_micros) {
                report(record);
                if record.refusal == Refusal::DiskMoves {
                    deadline = Instant::now() + timeout;
                }
            }
            self.seen_micros = records.last().map(|record| record.uptime_micros).or(seen_micros);
            let awaited = |record: &&Record| match record.refusal {
                Refusal::None => phases.contains(&record.phase),
                refusal => !refusal.goes_on(),
            };
            if let Some(record) = records.iter().find(awaited) {
                return Ok(*record);
            }
            if !alive {
                return Err(ended(records.last()));
            }
            if Instant::now() > deadline {
                return Err(silent(records.last(), timeout));
            }
            std::thread::sleep(POLL);
        }
    }

    fn records(&self) -> Outcome<Vec<Record>> {
        let bytes = fs::read(&self.disk)
            .hint(self.disk.display(), "the machine's directory was removed; start it again")?;
        status::decode(&bytes)
            .hint(self.disk.display(), "the guest wrote what no dstyx image writes")
    }
}

/// Follows the boot of a machine in its directory until its container runs.
pub fn until_app_runs(vm: &Vm, directory: &Path, output: &Output) -> Outcome<()> {
    let mut watch = Watch::new(directory.join("status.img"), vm.qemu);
    let record = watch.until(&[Phase::AppRunning, Phase::AppFailed], RUNS_WITHIN, |record| {
        output.step(&format!("{}: {}", vm.name, sentence(record)));
    })?;
    match record.refusal {
        Refusal::None => Ok(()),
        _ => Err(Failure::new(
            format!("{} does not run: {}", vm.name, reason(&record)),
            format!("see `dstyx logs {} --console`", vm.name),
        )),
    }
}

/// A record as a person reads it.
pub fn sentence(record: &Record) -> String {
    let seconds = record.uptime_micros as f64 / 1e6;
    match record.refusal {
        Refusal::None => format!("[guest {seconds:6.2}s] {}", record.phase.sentence()),
        _ => format!(
            "[guest {seconds:6.2}s] {} (after: {})",
            reason(record),
            record.phase.sentence()
        ),
    }
}

/// Why a guest or its app went no further, with the blob that it is about.
pub fn reason(record: &Record) -> String {
    let blob = record.blob.map(|blob| format!(": sha256:{blob}")).unwrap_or_default();
    format!("{}{blob}", record.refusal.sentence())
}

/// What the newest record says of the app, if it does not run: the one word that a guest without a
/// public port has for its deployer.
pub fn trouble(disk: &Path) -> Option<String> {
    let records = status::decode(&fs::read(disk).ok()?).ok()?;
    let last = records.iter().rev().find(|record| {
        matches!(record.phase, Phase::AppRunning | Phase::AppFailed | Phase::SystemReady)
    })?;
    (last.refusal != Refusal::None).then(|| reason(last))
}

fn last_message(record: Option<&Record>) -> String {
    record.map_or("nothing was reported".to_owned(), |record| {
        format!("last report: {}", record.phase.sentence())
    })
}

fn ended(record: Option<&Record>) -> Failure {
    Failure::new(
        format!("the virtual machine ended; {}", last_message(record)),
        "see `dstyx logs NAME --console`, and qemu.log in the machine's directory",
    )
}

fn silent(record: Option<&Record>, timeout: Duration) -> Failure {
    Failure::new(
        format!("no progress within {} s; {}", timeout.as_secs(), last_message(record)),
        "see `dstyx logs NAME --console`; a loaded host may need longer",
    )
}

#[cfg(test)]
mod tests {
    use protocol::digest::Sha256Digest;

    use super::*;

    fn watch(records: &[Record]) -> (tempfile::TempDir, Watch) {
        let directory = tempfile::tempdir().unwrap();
        let disk = directory.path().join("status.img");
        fs::write(&disk, status::encode(records)).unwrap();
        (directory, Watch::new(disk, Process::of(std::process::id()).unwrap()))
    }

    #[test]
    fn a_refusal_ends_the_wait_whatever_was_awaited() {
        let record =
            Record { phase: Phase::Started, refusal: Refusal::NoTee, blob: None, uptime_micros: 1 };
        let (_directory, mut watch) = watch(&[record]);
        let mut reported = Vec::new();
        let found =
            watch.until(&[Phase::SystemReady], Duration::ZERO, |record| reported.push(*record));
        assert_eq!((found.unwrap(), reported), (record, vec![record]));
    }

    #[test]
    fn trouble_with_an_image_names_its_blob_until_the_app_runs() {
        let failed = Record {
            phase: Phase::AppFailed,
            refusal: Refusal::ImageLayer,
            blob: Some(Sha256Digest([0xab; 32])),
            uptime_micros: 1,
        };
        let running =
            Record { phase: Phase::AppRunning, refusal: Refusal::None, blob: None, ..failed };
        let (_directory, watch_failed) = watch(&[failed]);
        let expected =
            format!("a layer of an image cannot be unpacked: sha256:{}", "ab".repeat(32));
        assert_eq!(trouble(&watch_failed.disk), Some(expected.clone()));
        assert!(sentence(&failed).contains(&expected));
        let (_directory, watch_running) = watch(&[failed, running]);
        assert_eq!(trouble(&watch_running.disk), None);
    }

    #[test]
    fn silence_says_what_was_last_heard() {
        let record = Record {
            phase: Phase::Networked,
            refusal: Refusal::None,
            blob: None,
            uptime_micros: 1,
        };
        let (_directory, mut watch) = watch(&[record]);
        let error = watch.until(&[Phase::SystemReady], Duration::ZERO, |_| ()).unwrap_err();
        assert!(error.to_string().contains("the network is configured"), "{error}");
    }
}
