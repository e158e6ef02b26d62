//! The files and tables of a data directory, and how the first ones come to be.
//!
//! Two files are written at the beginning and both must be there ever after, so that the loss of
//! either is seen: the store, and a marker that names the cluster.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use protocol::digest::Sha256Digest;
use redb::backends::FileBackend;
use redb::{Database, TableDefinition};

use super::{FORMAT, StoreError};

pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
pub(super) const LEDGER: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("ledger");
pub(super) const DOCUMENTS: TableDefinition<'_, &str, &str> = TableDefinition::new("documents");
pub(super) const IMAGES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("images");

/// Key of [`META`] with the number of entries, which every commit rewrites.
pub(super) const ENTRIES: &str = "entries";
/// Key of [`META`] with the cluster's id.
pub(super) const CLUSTER: &str = "cluster";
/// Key of [`META`] with [`FORMAT`].
pub(super) const FORMAT_KEY: &str = "format";

/// The store.
pub(super) const STORE: &str = "kms.redb";
/// Names the cluster, and says that there is a store.
pub(super) const MARKER: &str = "kms.cluster";
/// A store that is not finished.
const UNFINISHED: &str = "kms.redb.new";
/// What a file system may bring along.
const LOST_AND_FOUND: &str = "lost+found";

/// What lies in the directory.
#[derive(Debug, Default)]
struct Found {
    store: bool,
    marker: bool,
    unfinished: bool,
}

/// Opens the store, or makes one where there is none and never was.
pub(super) fn open(directory: &Path, cluster: Sha256Digest) -> Result<Database, StoreError> {
    let Found { store, marker, unfinished } = look(directory)?;
    match (store, marker) {
        (true, true) => {
            let database = open_store(directory)?;
            match check_marker(directory, cluster) {
                // The first start was cut while it wrote the marker.
                Err(_) if is_new(&database)? => mark(directory, cluster)?,
                checked => checked?,
            }
            Ok(database)
        }
        (false, true) => Err(StoreError::Lost { found: MARKER, missing: STORE }),
        // The first start was cut between the two files: nothing was ever written.
        (true, false) => {
            let database = open_store(directory)?;
            if !is_new(&database)? {
                return Err(StoreError::Lost { found: STORE, missing: MARKER });
            }
            mark(directory, cluster)?;
            Ok(database)
        }
        (false, false) => {
            if unfinished {
                let path = directory.join(UNFINISHED);
                std::fs::remove_file(&path).map_err(at(&path))?;
            }
            make(directory, cluster)
        }
    }
}

fn look(directory: &Path) -> Result<Found, StoreError> {
    let mut found = Found::default();
    for entry in std::fs::read_dir(directory).map_err(at(directory))? {
        let name = entry.map_err(at(directory))?.file_name();
        match name.to_str() {
            Some(STORE) => found.store = true,
            Some(MARKER) => found.marker = true,
            Some(UNFINISHED) => found.unfinished = true,
            Some(LOST_AND_FOUND) => {}
            _ => return Err(StoreError::Strange(name.to_string_lossy().into_owned())),
        }
    }
    Ok(found)
}

/// Makes an empty store under another name first: whatever has the store's name is whole.
fn make(directory: &Path, cluster: Sha256Digest) -> Result<Database, StoreError> {
    let unfinished = directory.join(UNFINISHED);
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create_new(true).mode(0o600);
    let file = options.open(&unfinished).map_err(at(&unfinished))?;
    let database = Database::builder().create_with_backend(FileBackend::new(file)?)?;
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(FORMAT_KEY, FORMAT)?;
        meta.insert(CLUSTER, cluster.as_bytes())?;
        meta.insert(ENTRIES, &0_u64.to_le_bytes()[..])?;
        transaction.open_table(LEDGER)?;
        transaction.open_table(DOCUMENTS)?;
        transaction.open_table(IMAGES)?;
    }
    transaction.commit()?;
    drop(database);
    let store = directory.join(STORE);
    std::fs::rename(&unfinished, &store).map_err(at(&store))?;
    sync(directory)?;
    mark(directory, cluster)?;
    open_store(directory)
}

fn mark(directory: &Path, cluster: Sha256Digest) -> Result<(), StoreError> {
    let path = directory.join(MARKER);
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(&path).and_then(|mut file| {
        file.write_all(cluster.to_string().as_bytes())?;
        file.sync_all()
    });
    written.map_err(at(&path))?;
    sync(directory)
}

fn check_marker(directory: &Path, cluster: Sha256Digest) -> Result<(), StoreError> {
    let path = directory.join(MARKER);
    let mut text = String::new();
    let read = File::open(&path).and_then(|file| file.take(128).read_to_string(&mut text));
    read.map_err(at(&path))?;
    match text == cluster.to_string() {
        true => Ok(()),
        false => Err(StoreError::Foreign { found: text, expected: cluster }),
    }
}

fn open_store(directory: &Path) -> Result<Database, StoreError> {
    Ok(Database::builder().set_check_integrity_on_open(true).open(directory.join(STORE))?)
}

/// Whether a store is as [`make`] leaves it.
fn is_new(database: &Database) -> Result<bool, StoreError> {
    use redb::{ReadableDatabase as _, ReadableTableMetadata as _};
    let read = database.begin_read()?;
    let count = read.open_table(META)?.get(ENTRIES)?.map(|count| count.value().to_vec());
    let empty = read.open_table(LEDGER)?.is_empty()?
        && read.open_table(DOCUMENTS)?.is_empty()?
        && read.open_table(IMAGES)?.is_empty()?;
    Ok(empty && count.as_deref() == Some(&[0; 8][..]))
}

fn sync(directory: &Path) -> Result<(), StoreError> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(at(directory))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path: PathBuf = path.to_owned();
    move |source| StoreError::File { path: path.display().to_string(), source }
}
