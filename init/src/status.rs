//! The status channel's only writer: the records of this boot, kept in memory and written whole, 4
//! KiB at a time.
//!
//! The disk is never read. It is the one piece of global state of PID 1, because a panic's last
//! words need it too. Records before the disk is found are kept and written with the first one
//! after.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::fcntl::OFlag;
use nix::time::{ClockId, clock_gettime};
use protocol::status::{DISK_BYTES, Phase, Record, Refusal, Report, encode};

use crate::console;

static CHANNEL: Mutex<Channel> = Mutex::new(Channel { disk: None, records: Vec::new() });

struct Channel {
    disk: Option<File>,
    records: Vec<Record>,
}

/// A buffer that the block layer takes as it is: direct I/O wants the device's alignment, and a
/// page has it.
#[repr(align(4096))]
struct Page([u8; DISK_BYTES]);

/// Opens the disk and writes what was recorded so far.
///
/// Direct I/O returns when the device has the bytes. No flush is asked for: the reader is the
/// running host, which shares its cache with the device, and a flush costs a disk's latency in
/// every phase.
pub fn open(disk: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).custom_flags(OFlag::O_DIRECT.bits()).open(disk)?;
    let mut channel = channel();
    channel.disk = Some(file);
    channel.write()
}

/// Records that `phase` was reached.
pub fn reached(phase: Phase) {
    record(phase, Refusal::None);
}

/// Records a refusal in the newest phase on record.
pub fn refused_in_last_phase(refusal: Refusal) {
    // A panic inside `record` holds the lock: then there is nothing more to be written.
    let last = CHANNEL
        .try_lock()
        .ok()
        .and_then(|channel| channel.records.last().map(|record| record.phase));
    if let Some(phase) = last {
        record(phase, refusal);
    }
}

/// Records that `phase` was reached, or why it was not.
pub fn record(phase: Phase, refusal: Refusal) {
    record_report(Report::new(phase, refusal));
}

/// Records what the agent reports.
pub fn record_report(Report { phase, refusal, blob }: Report) {
    let mut channel = channel();
    channel.push(Record { phase, refusal, blob, uptime_micros: uptime_micros() });
    if let Err(error) = channel.write() {
        console::say(&format!("status disk: {error}"));
    }
}

fn channel() -> MutexGuard<'static, Channel> {
    CHANNEL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Channel {
    fn push(&mut self, record: Record) {
        if self.records.len() == protocol::status::MAX_RECORDS {
            self.records.remove(0);
        }
        self.records.push(record);
    }

    fn write(&self) -> io::Result<()> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let page = Page(encode(&self.records));
        disk.write_all_at(&page.0, 0)
    }
}

/// Microseconds since the kernel started.
fn uptime_micros() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("the boot clock exists on every Linux");
    let seconds = u64::try_from(now.tv_sec()).expect("time since boot is not negative");
    let nanos = u64::try_from(now.tv_nsec()).expect("nanoseconds are not negative");
    seconds * 1_000_000 + nanos / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_always_holds_all_records_of_the_boot() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut channel = Channel { disk: Some(file.reopen().unwrap()), records: Vec::new() };
        for phase in [Phase::Started, Phase::Mounted] {
            let uptime_micros = uptime_micros();
            channel.push(Record { phase, refusal: Refusal::None, blob: None, uptime_micros });
            channel.write().unwrap();
        }
        let records = protocol::status::decode(&std::fs::read(file.path()).unwrap()).unwrap();
        assert_eq!(records.len(), 2);
        assert!(
            records[1].uptime_micros >= records[0].uptime_micros && records[0].uptime_micros > 0
        );
    }

    #[test]
    fn memory_does_not_grow_with_records() {
        let mut channel = Channel { disk: None, records: Vec::new() };
        for uptime_micros in 0..1000 {
            channel.push(Record {
                phase: Phase::AgentStarted,
                refusal: Refusal::None,
                blob: None,
                uptime_micros,
            });
        }
        assert_eq!(channel.records.len(), protocol::status::MAX_RECORDS);
        assert_eq!(channel.records.last().unwrap().uptime_micros, 999);
    }
}
