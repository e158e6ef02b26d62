//! The notes on the disk: one redb file, changed in transactions that are synced before they
//! return.
//!
//! A program that is killed while it writes leaves the state before or after the change; redb sees
//! to that when it opens the file. Ids are never given twice, so that a page that was loaded before
//! a removal cannot remove a newer note.

use std::fs::File;
use std::path::Path;

use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
    WriteTransaction,
};

use crate::text::Text;

/// Most notes that are kept; with 4 KiB each, a database of a few MiB.
pub const MAX_NOTES: u64 = 1000;
/// Notes of one page: bounds what an answer takes in memory.
pub const PAGE_NOTES: usize = 50;
/// Pages of the file that are kept in memory; redb's own choice is a GiB.
const CACHE_BYTES: usize = 4 << 20;

const FILE: &str = "notes.redb";
const NOTES: TableDefinition<'_, u64, &str> = TableDefinition::new("notes");
const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");
const STARTS: &str = "starts";
const LAST_ID: &str = "last id";

/// A note as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Note {
    /// Of this note and of no other one before or after it.
    pub id: u64,
    /// The text.
    pub text: String,
}

/// Some of the notes, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Page {
    /// How often the program has opened this database.
    pub starts: u64,
    /// How many notes there are.
    pub count: u64,
    /// At most [`PAGE_NOTES`] of them.
    pub notes: Vec<Note>,
    /// There are older notes, before this id.
    pub before: Option<u64>,
}

/// The open database; no other program has it open.
#[derive(Debug)]
pub struct Store {
    database: Database,
    starts: u64,
}

impl Store {
    /// Opens the database in `directory`, or makes it, and counts the start.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let database = builder.create(directory.join(FILE)).map_err(redb::Error::from)?;
        // The name of a new file is as lasting as its content.
        File::open(directory)?.sync_all()?;
        let starts = change(&database, |transaction| {
            transaction.open_table(NOTES)?;
            next(transaction, STARTS)
        })?;
        Ok(Self { database, starts })
    }

    /// How often the program has opened this database.
    pub fn starts(&self) -> u64 {
        self.starts
    }

    /// The newest notes, or the newest of those before an id.
    pub fn page(&self, before: Option<u64>) -> Result<Page, StoreError> {
        let read = || -> Result<Page, redb::Error> {
            let table = self.database.begin_read()?.open_table(NOTES)?;
            let mut notes = Vec::new();
            let mut older = table.range(..before.unwrap_or(u64::MAX))?.rev();
            for entry in older.by_ref().take(PAGE_NOTES) {
                let (id, text) = entry?;
                notes.push(Note { id: id.value(), text: text.value().to_owned() });
            }
            let last = notes.last().map(|note| note.id);
            let before = if older.next().transpose()?.is_some() { last } else { None };
            Ok(Page { starts: self.starts, count: table.len()?, notes, before })
        };
        read().map_err(StoreError::from)
    }

    /// Adds a note and returns its id; it is on the disk then.
    pub fn add(&self, text: &Text) -> Result<u64, StoreError> {
        change(&self.database, |transaction| {
            let mut notes = transaction.open_table(NOTES)?;
            if notes.len()? >= MAX_NOTES {
                return Err(StoreError::Full);
            }
            let id = next(transaction, LAST_ID)?;
            notes.insert(id, text.as_str())?;
            Ok(id)
        })
    }

    /// Removes a note; it is gone from the disk's present state then.
    pub fn remove(&self, id: u64) -> Result<(), StoreError> {
        change(&self.database, |transaction| {
            let mut notes = transaction.open_table(NOTES)?;
            match notes.remove(id)? {
                Some(_) => Ok(()),
                None => Err(StoreError::NoNote(id)),
            }
        })
    }
}

/// Commits and syncs what `edit` does, or nothing of it.
fn change<T>(
    database: &Database,
    edit: impl FnOnce(&WriteTransaction) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut transaction = database.begin_write().map_err(redb::Error::from)?;
    transaction.set_durability(Durability::Immediate).map_err(redb::Error::from)?;
    let done = edit(&transaction)?;
    transaction.commit().map_err(redb::Error::from)?;
    Ok(done)
}

/// Counts a counter up.
fn next(transaction: &WriteTransaction, counter: &str) -> Result<u64, StoreError> {
    let mut counters = transaction.open_table(COUNTERS)?;
    let last = counters.get(counter)?.map_or(0, |value| value.value());
    let next = last.checked_add(1).ok_or(StoreError::Full)?;
    counters.insert(counter, next)?;
    Ok(next)
}

/// Why notes cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// there are 1000 notes already, remove one first
    #[error("there are {MAX_NOTES} notes already, remove one first")]
    Full,
    /// there is no note {0}
    #[error("there is no note {0}")]
    NoNote(u64),
    /// the database cannot be used
    #[error("the database cannot be used")]
    Database(#[source] Box<redb::Error>),
    /// the directory cannot be synced
    #[error("the directory cannot be synced")]
    Io(#[from] std::io::Error),
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        Self::Database(Box::new(error))
    }
}

impl From<redb::TableError> for StoreError {
    fn from(error: redb::TableError) -> Self {
        redb::Error::from(error).into()
    }
}

impl From<redb::StorageError> for StoreError {
    fn from(error: redb::StorageError) -> Self {
        redb::Error::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Text {
        Text::parse(text).unwrap()
    }

    #[test]
    fn notes_are_there_when_the_database_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(store.page(None).unwrap().notes, []);
        for note in ["first", "second", "third"] {
            store.add(&text(note)).unwrap();
        }
        store.remove(2).unwrap();
        drop(store);
        let page = Store::open(directory.path()).unwrap().page(None).unwrap();
        let notes: Vec<_> = page.notes.iter().map(|note| (note.id, &*note.text)).collect();
        assert_eq!(notes, [(3, "third"), (1, "first")]);
        assert_eq!((page.starts, page.count, page.before), (2, 2, None));
    }

    #[test]
    fn a_note_that_was_answered_for_is_in_a_copy_of_the_running_database() {
        let [directory, copy] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let store = Store::open(directory.path()).unwrap();
        store.add(&text("kept")).unwrap();
        // As the disk is when the guest's power is cut: nothing was closed.
        std::fs::copy(directory.path().join(FILE), copy.path().join(FILE)).unwrap();
        store.add(&text("too late")).unwrap();
        let page = Store::open(copy.path()).unwrap().page(None).unwrap();
        assert_eq!(page.notes, [Note { id: 1, text: "kept".into() }]);
    }

    #[test]
    fn an_id_is_never_given_twice() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(store.add(&text("one")).unwrap(), 1);
        store.remove(1).unwrap();
        assert!(matches!(store.remove(1), Err(StoreError::NoNote(1))));
        drop(store);
        assert_eq!(Store::open(directory.path()).unwrap().add(&text("two")).unwrap(), 2);
    }

    #[test]
    fn the_thousand_and_first_note_is_refused_and_pages_have_fifty() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        // One transaction: a thousand syncs take minutes on some disks.
        change(&store.database, |transaction| {
            let mut notes = transaction.open_table(NOTES)?;
            for _ in 0..MAX_NOTES {
                notes.insert(next(transaction, LAST_ID)?, "x")?;
            }
            Ok(())
        })
        .unwrap();
        assert!(matches!(store.add(&text("more")), Err(StoreError::Full)));
        let (mut before, mut ids) = (None, Vec::new());
        loop {
            let page = store.page(before).unwrap();
            assert_eq!((page.notes.len(), page.count), (PAGE_NOTES, MAX_NOTES));
            ids.extend(page.notes.iter().map(|note| note.id));
            before = page.before;
            if before.is_none() {
                break;
            }
        }
        assert!(ids.iter().copied().eq((1..=MAX_NOTES).rev()));
        store.remove(7).unwrap();
        assert_eq!(store.add(&text("more")).unwrap(), MAX_NOTES + 1, "a refused note costs no id");
    }

    #[test]
    fn two_programs_cannot_have_one_database() {
        let directory = tempfile::tempdir().unwrap();
        let _store = Store::open(directory.path()).unwrap();
        assert!(matches!(Store::open(directory.path()), Err(StoreError::Database(_))));
    }

    #[test]
    fn a_file_that_is_no_database_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(FILE);
        std::fs::write(&file, "not a database").unwrap();
        assert!(matches!(Store::open(directory.path()), Err(StoreError::Database(_))));
        assert_eq!(std::fs::read(&file).unwrap(), b"not a database");
    }
}
