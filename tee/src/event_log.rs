//! The run-time event log: every entry is one line of a file and one extension of RTMR3, in the
//! same order.
//!
//! One exclusive lock on the file spans check, append and extension, so two programs never
//! interleave. The line is written *before* the register is extended: a process that dies in
//! between leaves one line more than the register has seen, which the next holder of the lock
//! recognises by replay and completes. The other order would leave a register that no log explains,
//! and no later quote would ever verify. The file lies on a tmpfs: log and register vanish together
//! at power-off.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt};
use std::path::PathBuf;

use protocol::digest::Rtmr;
use protocol::event_log::{
    self, EventLogError as OrderError, MAX_EVENTS, MAX_GUEST_LOG_BYTES, MAX_LOG_BYTES, RawEvent,
    RuntimeEvent,
};
use protocol::{event_name, strict_json};

use crate::{Tee, TeeError};

/// Why an event was not recorded, or the log not read.
#[derive(Debug, thiserror::Error)]
pub enum EventLogError {
    /// the register device
    #[error(transparent)]
    Tee(#[from] TeeError),
    /// the file
    #[error("event log {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// a line that no program of the guest writes, or an event that is refused where it would stand
    #[error(transparent)]
    Refused(#[from] OrderError),
    /// the event or the whole log beyond its budget
    #[error("event {name:?}: {what}")]
    TooLarge {
        /// The event's name.
        name: String,
        /// Which budget.
        what: String,
    },
    /// a register that the log does not explain
    #[error("RTMR3 is {register}, the log's {events} events give {replayed}")]
    Diverged {
        /// What the device says.
        register: Rtmr,
        /// What the log gives.
        replayed: Rtmr,
        /// Events in the log.
        events: usize,
    },
}

/// What [`EventLog::ensure`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    /// The event was new and is now recorded.
    Recorded,
    /// The very event stood in the log already.
    Present,
}

/// The log of this boot and the register behind it.
#[derive(Debug)]
pub struct EventLog<T> {
    path: PathBuf,
    tee: T,
}

/// The log as it stood at one moment: the beginning of its file, which only grows behind it.
#[derive(Debug)]
pub struct LogSnapshot {
    file: File,
    length_bytes: u64,
}

impl LogSnapshot {
    /// Bytes of the log: each event is one line of JSON.
    pub fn length_bytes(&self) -> u64 {
        self.length_bytes
    }

    /// At most `max_bytes` of it from `offset` on.
    pub fn read_at(&self, offset: u64, max_bytes: usize) -> std::io::Result<Vec<u8>> {
        let left = self.length_bytes.saturating_sub(offset);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(max_bytes);
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// Its events.
    pub fn events(&self) -> Result<Vec<RawEvent>, EventLogError> {
        let text = self
            .read_at(0, MAX_LOG_BYTES)
            .map_err(|source| EventLogError::Io { path: "the log".to_owned(), source })?;
        Ok(raw_events(&text).map_err(OrderError::from)?)
    }
}

/// The file under its lock, replayed and equal to the register.
struct Settled {
    file: File,
    events: Vec<RuntimeEvent>,
    register: Rtmr,
    length_bytes: u64,
}

impl<T: Tee> EventLog<T> {
    /// The log at `path`, made with mode 0600 by the first event.
    pub fn new(path: impl Into<PathBuf>, tee: T) -> Self {
        Self { path: path.into(), tee }
    }

    /// The register's device.
    pub fn tee(&self) -> &T {
        &self.tee
    }

    /// Records `event`; refuses repeated and misplaced boot events, foreign events before
    /// `system-ready`, and boot names behind it.
    pub fn append(&self, event: &RuntimeEvent) -> Result<(), EventLogError> {
        self.append_all(std::slice::from_ref(event))
    }

    /// Records `events` in a row, nothing between them; those before one that is refused stay
    /// recorded.
    pub fn append_all(&self, events: &[RuntimeEvent]) -> Result<(), EventLogError> {
        let mut settled = self.settle()?;
        events.iter().try_for_each(|event| self.record(&mut settled, event))
    }

    /// Records a boot event unless the very same one is recorded, so that a restarted program can
    /// go through its steps again.
    pub fn ensure(&self, event: &RuntimeEvent) -> Result<Ensured, EventLogError> {
        let mut settled = self.settle()?;
        if settled.events.contains(event) {
            return Ok(Ensured::Present);
        }
        self.record(&mut settled, event).map(|()| Ensured::Recorded)
    }

    /// The log, and what `read` gives while no event can be added: a quote taken in it holds the
    /// RTMR3 of this very log.
    pub fn snapshot<R>(
        &self,
        read: impl FnOnce(&T) -> R,
    ) -> Result<(LogSnapshot, R), EventLogError> {
        let Settled { file, length_bytes, .. } = self.settle()?;
        let result = read(&self.tee);
        // The snapshot keeps the file open, and with it the lock.
        file.unlock().map_err(|source| self.io(source))?;
        Ok((LogSnapshot { file, length_bytes }, result))
    }

    fn record(&self, settled: &mut Settled, event: &RuntimeEvent) -> Result<(), EventLogError> {
        let line = line(settled, event)?;
        settled.events.push(event.clone());
        match event_log::check_boot_order(&settled.events) {
            // The log is still growing: what has not come yet is not missing.
            Ok(()) | Err(OrderError::Missing { .. }) => {}
            Err(refused) => return Err(refused.into()),
        }
        settled.file.write_all(&line).map_err(|source| self.io(source))?;
        self.extend(settled, event)?;
        settled.length_bytes += line.len() as u64;
        settled.register = settled.register.extended_by(&event.digest());
        Ok(())
    }

    /// Extends the register by an event that stands in the file. An error may come after the fact,
    /// so the register decides what happened; if it is unchanged, the line is taken back.
    fn extend(&self, settled: &Settled, event: &RuntimeEvent) -> Result<(), EventLogError> {
        let Err(refused) = self.tee.extend(&event.digest()) else { return Ok(()) };
        let register = self.tee.runtime_register()?;
        let replayed = settled.register.extended_by(&event.digest());
        if register == replayed {
            return Ok(());
        }
        if register != settled.register {
            return Err(EventLogError::Diverged {
                register,
                replayed,
                events: settled.events.len(),
            });
        }
        settled.file.set_len(settled.length_bytes).map_err(|source| self.io(source))?;
        Err(refused.into())
    }

    /// Takes the lock and brings file and register together: drops a line that was not finished,
    /// completes an extension that was not made.
    fn settle(&self) -> Result<Settled, EventLogError> {
        let mut file = self.locked_file()?;
        let events = self.read_events(&mut file)?;
        let length_bytes = file.seek(SeekFrom::End(0)).map_err(|source| self.io(source))?;
        let register = self.tee.runtime_register()?;
        let replayed = event_log::replay(&events);
        if register == replayed {
            return Ok(Settled { file, events, register, length_bytes });
        }
        let diverged = EventLogError::Diverged { register, replayed, events: events.len() };
        let Some((last, before)) = events.split_last() else { return Err(diverged) };
        if register != event_log::replay(before) {
            return Err(diverged);
        }
        self.tee.extend(&last.digest())?;
        if self.tee.runtime_register()? != replayed {
            return Err(diverged);
        }
        Ok(Settled { file, events, register: replayed, length_bytes })
    }

    fn locked_file(&self) -> Result<File, EventLogError> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let file = options.open(&self.path).map_err(|source| self.io(source))?;
        // Released when the file is closed, also by the kernel for a process that died.
        file.lock().map_err(|source| self.io(source))?;
        Ok(file)
    }

    fn read_events(&self, file: &mut File) -> Result<Vec<RuntimeEvent>, EventLogError> {
        let mut text = Vec::new();
        file.take(MAX_LOG_BYTES as u64 + 1)
            .read_to_end(&mut text)
            .map_err(|source| self.io(source))?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        if whole != text.len() {
            // A writer that died inside its line had not extended yet.
            file.set_len(whole as u64).map_err(|source| self.io(source))?;
        }
        let raw = raw_events(&text[..whole]).map_err(OrderError::from)?;
        Ok(event_log::runtime_events(&raw)?)
    }

    fn io(&self, source: std::io::Error) -> EventLogError {
        EventLogError::Io { path: self.path.display().to_string(), source }
    }
}

fn raw_events(text: &[u8]) -> Result<Vec<RawEvent>, strict_json::JsonError> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| strict_json::parse(line, MAX_LOG_BYTES)).collect()
}

/// The event's line, if event and log stay within their budgets.
fn line(settled: &Settled, event: &RuntimeEvent) -> Result<Vec<u8>, EventLogError> {
    let too_large = |what: String| EventLogError::TooLarge {
        name: event.name.chars().take(64).collect(),
        what,
    };
    if settled.events.len() >= MAX_EVENTS {
        return Err(too_large(format!("the log has {MAX_EVENTS} events, no more are accepted")));
    }
    if event.name.is_empty() || event.name.len() > event_log::MAX_NAME_BYTES {
        return Err(too_large(format!("names have 1 to {} bytes", event_log::MAX_NAME_BYTES)));
    }
    if !event_name::is_unambiguous(&event.name) {
        // The log would be refused whenever it is read.
        let (index, name) = (settled.events.len(), event.name.clone());
        return Err(OrderError::Name { index, name }.into());
    }
    if event.payload.len() > event_log::MAX_PAYLOAD_BYTES {
        return Err(too_large(format!(
            "a payload of more than {} bytes",
            event_log::MAX_PAYLOAD_BYTES
        )));
    }
    let mut line = serde_json::to_vec(&event.to_raw()).expect("strings and numbers serialise");
    line.push(b'\n');
    // In a JSON array, commas stand in place of all line feeds but the last, and two brackets.
    if settled.length_bytes + line.len() as u64 + 1 > MAX_GUEST_LOG_BYTES as u64 {
        return Err(too_large(format!("the log would exceed {MAX_GUEST_LOG_BYTES} bytes")));
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use protocol::digest::{ReportData, Sha384Digest};

    use super::*;
    use crate::fixtures::SoftwareTee;

    fn event(name: &str) -> RuntimeEvent {
        RuntimeEvent::new(name, *b"payload")
    }

    fn boot(log: &EventLog<Arc<SoftwareTee>>) {
        for name in event_name::REQUIRED {
            log.append(&event(name)).unwrap();
        }
    }

    #[test]
    fn the_register_is_the_replay_of_the_file() {
        let (directory, tee) = (tempfile::tempdir().unwrap(), Arc::new(SoftwareTee::default()));
        let log = EventLog::new(directory.path().join("log"), Arc::clone(&tee));
        boot(&log);
        let (snapshot, quote) = log.snapshot(|tee| tee.quote(&ReportData::ZERO).unwrap()).unwrap();
        let raw = snapshot.events().unwrap();
        let replayed = event_log::replay(&event_log::runtime_events(&raw).unwrap());
        assert_eq!((replayed, quote), (tee.value(), [&replayed.0[..], &[0; 64]].concat()));
    }

    #[test]
    fn boot_events_happen_once_also_for_a_second_process() {
        let (directory, tee) = (tempfile::tempdir().unwrap(), Arc::new(SoftwareTee::default()));
        boot(&EventLog::new(directory.path().join("log"), Arc::clone(&tee)));
        let second = EventLog::new(directory.path().join("log"), Arc::clone(&tee));
        let before = tee.value();
        let refused = second.append(&event(event_name::APP_ID));
        assert!(matches!(refused, Err(EventLogError::Refused(OrderError::Repeated { .. }))));
        assert_eq!(second.ensure(&event(event_name::APP_ID)).unwrap(), Ensured::Present);
        let other = RuntimeEvent::new(event_name::APP_ID, *b"other");
        assert!(matches!(
            second.ensure(&other),
            Err(EventLogError::Refused(OrderError::Repeated { .. }))
        ));
        assert_eq!(tee.value(), before);
    }

    #[test]
    fn a_name_that_could_not_be_read_again_is_not_recorded() {
        let (directory, tee) = (tempfile::tempdir().unwrap(), Arc::new(SoftwareTee::default()));
        let log = EventLog::new(directory.path().join("log"), Arc::clone(&tee));
        boot(&log);
        log.append(&event(event_name::SYSTEM_READY)).unwrap();
        let before = tee.value();
        let refused = log.append(&event("app-id:x"));
        assert!(matches!(refused, Err(EventLogError::Refused(OrderError::Name { .. }))));
        log.append(&event("mine")).unwrap();
        assert_ne!(tee.value(), before);
    }

    #[test]
    fn system_ready_parts_boot_names_from_the_others() {
        let (directory, tee) = (tempfile::tempdir().unwrap(), Arc::new(SoftwareTee::default()));
        let log = EventLog::new(directory.path().join("log"), Arc::clone(&tee));
        boot(&log);
        assert!(matches!(
            log.append(&event("mine")),
            Err(EventLogError::Refused(OrderError::BeforeReady { .. }))
        ));
        assert_eq!(log.ensure(&event(event_name::SYSTEM_READY)).unwrap(), Ensured::Recorded);
        log.append(&event("mine")).unwrap();
        log.append(&event("mine")).unwrap();
        let late = log.append(&event(event_name::STORAGE_FS));
        assert!(matches!(late, Err(EventLogError::Refused(OrderError::AfterReady { .. }))));
    }

    #[test]
    fn death_between_line_and_extension_is_completed() {
        let (directory, tee) = (tempfile::tempdir().unwrap(), Arc::new(SoftwareTee::default()));
        let path = directory.path().join("log");
        let log = EventLog::new(&path, Arc::clone(&tee));
        boot(&log);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        serde_json::to_writer(&file, &event(event_name::KEY_PROVIDER).to_raw()).unwrap();
        file.write_all(b"\n{\"imr\":3,\"ev").unwrap();
        log.append(&event(event_name::SYSTEM_READY)).unwrap();
        let raw = log.snapshot(|_| ()).unwrap().0.events().unwrap();
        let names: Vec<_> = raw.iter().map(|event| event.event.as_str()).collect();
        assert_eq!(names[5..], [event_name::KEY_PROVIDER, event_name::SYSTEM_READY]);
    }

    #[test]
    fn an_extension_that_the_device_refused_leaves_no_line() {
        let (directory, tee) = (tempfile::tempdir().unwrap(), Arc::new(SoftwareTee::default()));
        let log = EventLog::new(directory.path().join("log"), Arc::clone(&tee));
        boot(&log);
        tee.refuse_next();
        assert!(matches!(log.append(&event(event_name::KEY_PROVIDER)), Err(EventLogError::Tee(_))));
        assert_eq!(
            log.snapshot(|_| ()).unwrap().0.events().unwrap().len(),
            event_name::REQUIRED.len()
        );
        log.append(&event(event_name::KEY_PROVIDER)).unwrap();
    }

    #[test]
    fn a_foreign_extension_is_divergence() {
        let (directory, tee) = (tempfile::tempdir().unwrap(), Arc::new(SoftwareTee::default()));
        let log = EventLog::new(directory.path().join("log"), Arc::clone(&tee));
        boot(&log);
        tee.extend(&Sha384Digest([1; 48])).unwrap();
        assert!(matches!(log.snapshot(|_| ()), Err(EventLogError::Diverged { events: 5, .. })));
    }

    #[test]
    fn budgets_are_kept() {
        let (directory, tee) = (tempfile::tempdir().unwrap(), Arc::new(SoftwareTee::default()));
        let log = EventLog::new(directory.path().join("log"), Arc::clone(&tee));
        boot(&log);
        log.append(&event(event_name::SYSTEM_READY)).unwrap();
        let large = RuntimeEvent::new("mine", vec![0; event_log::MAX_PAYLOAD_BYTES + 1]);
        assert!(matches!(log.append(&large), Err(EventLogError::TooLarge { .. })));
        assert!(matches!(
            log.append(&event(&"n".repeat(129))),
            Err(EventLogError::TooLarge { .. })
        ));
        assert!(matches!(log.append(&event("")), Err(EventLogError::TooLarge { .. })));
    }

    #[test]
    fn a_log_fits_into_a_channel_and_an_event_that_would_make_it_larger_is_refused() {
        let (directory, tee) = (tempfile::tempdir().unwrap(), Arc::new(SoftwareTee::default()));
        let log = EventLog::new(directory.path().join("log"), Arc::clone(&tee));
        boot(&log);
        log.append(&event(event_name::SYSTEM_READY)).unwrap();
        let mut bytes = event_log::MAX_PAYLOAD_BYTES;
        while bytes > 0 {
            match log.append(&RuntimeEvent::new("mine", vec![0; bytes])) {
                Ok(()) => {}
                Err(EventLogError::TooLarge { .. }) => bytes /= 2,
                Err(other) => panic!("{other}"),
            }
        }
        let events = log.snapshot(|_| ()).unwrap().0.events().unwrap();
        let json = serde_json::to_vec(&events).unwrap();
        let room = MAX_GUEST_LOG_BYTES - json.len();
        assert!(room < 512, "{room} bytes are left");
    }

    #[test]
    fn writers_in_many_threads_do_not_interleave() {
        let (directory, tee) = (tempfile::tempdir().unwrap(), Arc::new(SoftwareTee::default()));
        let log = EventLog::new(directory.path().join("log"), Arc::clone(&tee));
        boot(&log);
        log.append(&event(event_name::SYSTEM_READY)).unwrap();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let log = &log;
                scope.spawn(move || {
                    (0..20).for_each(|_| log.append(&event(&format!("writer-{writer}"))).unwrap())
                });
            }
        });
        assert_eq!(log.snapshot(|_| ()).unwrap().0.events().unwrap().len(), 86);
    }
}
