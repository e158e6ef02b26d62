//! What a gateway stores: accounts and certificates with their keys, sealed, and the evidence that
//! it published.
//!
//! Whoever holds the disk reads, changes, loses and puts back what is here. So every value is
//! sealed for its name, its instance and its revision; an index, which is sealed too, has the
//! revision of each, so that an older value in place of a newer one does not open. That the whole
//! was put back is not seen here: the guest's disk is anchored with its KMS against that. The
//! evidence is public, and only added to.

mod sealed;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use gateway_domain::published::{Entry, Head, LineError, MAX_LINES, Subject};
use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub use sealed::StoreKey;

/// Sealed values by their names.
const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");
/// Lines of evidence by their numbers.
const PUBLISHED: TableDefinition<'_, u64, &str> = TableDefinition::new("published");
/// The name of the index among the values.
const INDEX: &str = "index";
/// The file.
const FILE: &str = "gateway.redb";

/// Why what is stored cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// the file
    #[error("the store's file: {0}")]
    File(#[from] std::io::Error),
    /// the data base
    #[error("the store: {0}")]
    Database(Box<redb::Error>),
    /// a value that does not open
    #[error("{0} does not open: it was changed, put back, or is another instance's")]
    Seal(String),
    /// a value that is not there, though the index has it
    #[error("{0} is gone from the store")]
    Gone(String),
    /// values without an index
    #[error("the store has values and no index")]
    NoIndex,
    /// an index of another form
    #[error("the index has another form")]
    Index,
    /// lines that are not those that were written
    #[error("published evidence, line {line}: {what}")]
    Published {
        /// Its number.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// more lines than are read
    #[error("{MAX_LINES} lines of evidence are published, which is all that readers take")]
    Full,
}

/// What is there, as the index says.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    head: Head,
    revisions: BTreeMap<String, u64>,
}

/// A line: what it is about, and the head before it.
#[derive(Debug)]
struct Line {
    subject: Subject,
    before: Head,
}

/// The store, open.
pub struct Store {
    database: Database,
    key: StoreKey,
    index: Index,
    lines: Vec<Line>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("lines", &self.lines.len()).finish_non_exhaustive()
    }
}

impl StoreError {
    /// What to try.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File(_) | Self::Database(_) => {
                "is the volume mounted, and is no other process of the gateway running?"
            }
            Self::Full => "begin with an empty volume after its evidence was kept elsewhere",
            Self::Seal(_) | Self::Gone(_) | Self::NoIndex | Self::Index => {
                "put the store back as it was; with an empty volume the base domains' CAA records \
                 of the lost accounts have to be removed first"
            }
            Self::Published { .. } => "put the store back as it was",
        }
    }
}

fn database(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Database(Box::new(error.into()))
}

impl Store {
    /// Opens the store of an instance, or begins where the directory has none.
    ///
    /// # Errors
    /// If anything is there that cannot be read whole.
    pub fn open(directory: &Path, key: StoreKey) -> Result<Self, StoreError> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = FileBackend::new(options.open(directory.join(FILE))?);
        let file = file.map_err(database)?;
        let opened = Database::builder().create_with_backend(file).map_err(database)?;
        let write = opened.begin_write().map_err(database)?;
        write.open_table(VALUES).map_err(database)?;
        write.open_table(PUBLISHED).map_err(database)?;
        write.commit().map_err(database)?;
        let index = read_index(&opened, &key)?;
        let lines = read_lines(&opened, index.head)?;
        Ok(Self { database: opened, key, index, lines })
    }

    /// A value by its name; nothing if none was ever stored.
    ///
    /// # Errors
    /// If it cannot be read, or is not the one that was stored last.
    pub fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        let Some(revision) = self.index.revisions.get(name) else { return Ok(None) };
        let read = self.database.begin_read().map_err(database)?;
        let table = read.open_table(VALUES).map_err(database)?;
        let value = table.get(name).map_err(database)?;
        let value = value.ok_or_else(|| StoreError::Gone(name.to_owned()))?;
        let opened = self.key.open(name, *revision, value.value());
        opened.map(Some).ok_or_else(|| StoreError::Seal(name.to_owned()))
    }

    /// Stores a value in place of an earlier one; when this returns, it is durable.
    ///
    /// # Errors
    /// If it cannot be written; the earlier one stays then.
    pub fn put(&mut self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        let mut revisions = self.index.revisions.clone();
        let revision = revisions.get(name).map_or(1, |earlier| earlier + 1);
        revisions.insert(name.to_owned(), revision);
        let sealed = self.key.seal(name, revision, value);
        let index = Index { head: self.index.head, revisions };
        self.commit(index, |values, _| {
            values.insert(name, sealed.as_slice()).map_err(database)?;
            Ok(())
        })
    }

    /// Forgets a value. Its revision is remembered, so that the value does not come back.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn forget(&mut self, name: &str) -> Result<(), StoreError> {
        self.put(name, &[])
    }

    /// Adds a line of evidence; when this returns, it is durable.
    ///
    /// # Errors
    /// If there are as many as readers take, or it cannot be written.
    pub fn publish(&mut self, entry: &Entry) -> Result<(), StoreError> {
        if self.lines.len() >= MAX_LINES {
            return Err(StoreError::Full);
        }
        let before = self.index.head;
        let (line, head) = before.append(entry);
        // Only what readers take is written.
        before.read(&line).map_err(|what| published(head.lines, &what))?;
        let index = Index { head, revisions: self.index.revisions.clone() };
        self.commit(index, |_, lines| {
            lines.insert(head.lines, line.as_str()).map_err(database)?;
            Ok(())
        })?;
        self.lines.push(Line { subject: entry.subject.clone(), before });
        Ok(())
    }

    /// The last line about a subject.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn entry(&self, about: impl Fn(&Subject) -> bool) -> Result<Option<Entry>, StoreError> {
        Ok(self.last_entries(1, about)?.pop())
    }

    /// The last lines about subjects, at most so many, in order.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn last_entries(
        &self,
        most: usize,
        about: impl Fn(&Subject) -> bool,
    ) -> Result<Vec<Entry>, StoreError> {
        let read = self.database.begin_read().map_err(database)?;
        let table = read.open_table(PUBLISHED).map_err(database)?;
        let mut entries = Vec::new();
        for Line { before, .. } in
            self.lines.iter().rev().filter(|line| about(&line.subject)).take(most)
        {
            let number = before.lines + 1;
            let text = table.get(number).map_err(database)?.ok_or_else(|| gone(number))?;
            let (entry, _) = before.read(text.value()).map_err(|what| published(number, &what))?;
            entries.push(entry);
        }
        entries.reverse();
        Ok(entries)
    }

    /// What all lines are about, in order.
    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.lines.iter().map(|line| &line.subject)
    }

    /// All lines, each with its end.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn evidence(&self) -> Result<String, StoreError> {
        let read = self.database.begin_read().map_err(database)?;
        let table = read.open_table(PUBLISHED).map_err(database)?;
        let mut text = String::new();
        for number in 1..=self.index.head.lines {
            let line = table.get(number).map_err(database)?.ok_or_else(|| gone(number))?;
            text.push_str(line.value());
            text.push('\n');
        }
        Ok(text)
    }

    /// Writes a change and the index that has it, both or neither.
    fn commit(
        &mut self,
        index: Index,
        change: impl FnOnce(
            &mut redb::Table<'_, &str, &[u8]>,
            &mut redb::Table<'_, u64, &str>,
        ) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let text = serde_json::to_vec(&index).expect("names and numbers serialise");
        let sealed = self.key.seal(INDEX, 0, &text);
        let write = self.database.begin_write().map_err(database)?;
        {
            let mut values = write.open_table(VALUES).map_err(database)?;
            let mut lines = write.open_table(PUBLISHED).map_err(database)?;
            change(&mut values, &mut lines)?;
            values.insert(INDEX, sealed.as_slice()).map_err(database)?;
        }
        write.commit().map_err(database)?;
        self.index = index;
        Ok(())
    }
}

fn read_index(opened: &Database, key: &StoreKey) -> Result<Index, StoreError> {
    let read = opened.begin_read().map_err(database)?;
    let values = read.open_table(VALUES).map_err(database)?;
    let sealed = values.get(INDEX).map_err(database)?;
    let Some(sealed) = sealed else {
        let lines = read.open_table(PUBLISHED).map_err(database)?;
        let empty = values.first().map_err(database)?.is_none()
            && lines.first().map_err(database)?.is_none();
        let index = Index { head: Head::EMPTY, revisions: BTreeMap::new() };
        return if empty { Ok(index) } else { Err(StoreError::NoIndex) };
    };
    let text = key.open(INDEX, 0, sealed.value());
    let text = text.ok_or_else(|| StoreError::Seal("the index".to_owned()))?;
    serde_json::from_slice(&text).map_err(|_| StoreError::Index)
}

fn read_lines(opened: &Database, stated: Head) -> Result<Vec<Line>, StoreError> {
    let read = opened.begin_read().map_err(database)?;
    let table = read.open_table(PUBLISHED).map_err(database)?;
    let (mut head, mut lines) = (Head::EMPTY, Vec::new());
    for row in table.iter().map_err(database)? {
        let (_, text) = row.map_err(database)?;
        let (entry, next) =
            head.read(text.value()).map_err(|what| published(head.lines + 1, &what))?;
        lines.push(Line { subject: entry.subject, before: head });
        head = next;
    }
    match head == stated {
        true => Ok(lines),
        false => {
            let what = format!("the file ends here, and had {} lines", stated.lines);
            Err(StoreError::Published { line: head.lines, what })
        }
    }
}

fn published(line: u64, what: &LineError) -> StoreError {
    StoreError::Published { line, what: what.to_string() }
}

fn gone(line: u64) -> StoreError {
    StoreError::Published { line, what: "it is gone".to_owned() }
}

#[cfg(test)]
mod tests;
