//! Power cuts while a decision is written, and again while what was left is repaired.

use std::io;
use std::sync::{Arc, Mutex};

use redb::{Builder, StorageBackend};

use super::*;

/// What a disk does before its power is cut.
#[derive(Debug, Clone, Copy)]
struct Power {
    /// Writes, syncs and changes of its length that are left.
    left: u64,
}

const ENDLESS: Power = Power { left: u64::MAX };

#[derive(Debug)]
struct State {
    /// What survives a power cut.
    durable: Vec<u8>,
    /// What is read.
    view: Vec<u8>,
    /// Writes since the last sync, each of which survives or does not.
    pending: Vec<(usize, Vec<u8>)>,
    power: Power,
}

/// A disk in memory.
#[derive(Debug, Clone)]
struct CutDisk(Arc<Mutex<State>>);

impl CutDisk {
    fn of(content: Vec<u8>, power: Power) -> Self {
        let state = State { view: content.clone(), durable: content, pending: Vec::new(), power };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Uses power for one step, if there is some.
    fn step<T>(&self, step: impl FnOnce(&mut State) -> T) -> io::Result<T> {
        let mut state = self.0.lock().unwrap();
        let left = state.power.left.checked_sub(1);
        state.power.left = left.ok_or_else(|| io::Error::other("no power"))?;
        Ok(step(&mut state))
    }

    /// What is there after the cut: of the writes that were not synced, those that `kept` says.
    fn after_the_cut(&self, kept: impl Fn(usize) -> bool) -> Vec<u8> {
        let state = self.0.lock().unwrap();
        let mut content = state.durable.clone();
        for (number, (at, bytes)) in state.pending.iter().enumerate() {
            if kept(number) {
                content.resize(content.len().max(at + bytes.len()), 0);
                content[*at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
        content
    }

    fn database(&self) -> Result<Database, redb::DatabaseError> {
        // As the store is opened.
        Builder::new().set_check_integrity_on_open(true).create_with_backend(self.clone())
    }
}

impl StorageBackend for CutDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().view.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock().unwrap();
        let at = usize::try_from(offset).unwrap();
        let bytes = state.view.get(at..at + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).unwrap();
        self.step(|state| {
            state.view.resize(length, 0);
            state.durable.resize(length, 0);
            state.pending.retain(|(at, bytes)| at + bytes.len() <= length);
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.step(|state| {
            state.durable.clone_from(&state.view);
            state.pending.clear();
        })
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        self.step(|state| {
            state.view[at..at + bytes.len()].copy_from_slice(bytes);
            state.pending.push((at, bytes.to_vec()));
        })
    }
}

/// The record of a place.
fn record(index: u64) -> Vec<u8> {
    vec![index as u8; 3000]
}

/// Appends a record as [`Disk::append`] does, on a disk whose power may be cut.
fn append(disk: &CutDisk, index: u64) -> Result<(), StoreError> {
    let mut opened = Disk { database: disk.database()?, entries: index };
    opened.append(vec![record(index)], None)
}

/// How many records there are; each must be whole, and none beyond the number.
fn entries(content: &[u8]) -> u64 {
    let database = CutDisk::of(content.to_vec(), ENDLESS).database().unwrap();
    let read = database.begin_read().unwrap();
    let meta = read.open_table(META).unwrap();
    let entries = meta.get(ENTRIES).unwrap().unwrap().value().try_into().map(u64::from_le_bytes);
    let (entries, ledger) = (entries.unwrap(), read.open_table(LEDGER).unwrap());
    assert_eq!(ledger.len().unwrap(), entries);
    for index in 0..entries {
        assert_eq!(ledger.get(index).unwrap().unwrap().value(), record(index));
    }
    entries
}

#[test]
fn a_cut_in_a_commit_and_another_in_its_repair_lose_nothing_that_was_stored() {
    let disk = CutDisk::of(Vec::new(), ENDLESS);
    append(&disk, 0).unwrap();
    let before = disk.after_the_cut(|_| true);
    assert_eq!(entries(&before), 1);
    let (mut cut_at, mut cuts) = (0, 0);
    loop {
        let disk = CutDisk::of(before.clone(), Power { left: cut_at });
        let stored = append(&disk, 1);
        for kept in [|_| false, |_| true, |number| number % 2 == 0, |number| number % 2 == 1] {
            let content = disk.after_the_cut(kept);
            let found = entries(&content);
            assert!(found == 2 || found == 1 && stored.is_err(), "{found} after {stored:?}");
            for left in 0..6 {
                let repaired = CutDisk::of(content.clone(), Power { left });
                drop(repaired.database());
                let content = repaired.after_the_cut(kept);
                assert_eq!(entries(&content), found, "cut at {cut_at}, and again at {left}");
                cuts += 1;
            }
            // It goes on from there.
            let goes_on = CutDisk::of(content, ENDLESS);
            append(&goes_on, found).unwrap();
            assert_eq!(entries(&goes_on.after_the_cut(|_| true)), found + 1);
        }
        if stored.is_ok() {
            break;
        }
        cut_at += 1;
    }
    assert!(cut_at > 3 && cuts > 100, "{cut_at} cuts of a commit, {cuts} of a repair");
}
