//! A host that reads, loses, changes and moves what is stored.

use std::fs;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableTable as _};

use super::layout::{LEDGER, MARKER, STORE};
use super::*;

const CLUSTER_ID: Sha256Digest = Sha256Digest([7; 32]);

/// The store of a data directory.
fn open(directory: &Path, cluster: Sha256Digest) -> Result<Store, StoreError> {
    Store::open(&Location::Directory(directory.to_owned()), cluster)
}

struct Place {
    directory: tempfile::TempDir,
    key: StoreKey,
}

impl Place {
    /// A store with entries `0`, `1` and `2`, a root's certificate and an image.
    fn with_three_entries() -> Self {
        let place = Self {
            directory: tempfile::tempdir().unwrap(),
            key: StoreKey::new(Zeroizing::new([9; 32])),
        };
        let mut store = place.open().unwrap();
        assert_eq!(store.entries(), 0);
        let change = Change { entries: vec![b"0", b"1"], root_certificate: Some("r") };
        store.commit(&place.key, &change).unwrap();
        let change = Change { entries: vec![b"2"], root_certificate: None };
        store.commit(&place.key, &change).unwrap();
        store.put_image(b"{}").unwrap();
        place
    }

    fn open(&self) -> Result<Store, StoreError> {
        open(self.directory.path(), CLUSTER_ID)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn change(&self, edit: impl FnOnce(&mut redb::Table<'_, u64, &'static [u8]>)) {
        change(self.directory.path(), edit);
    }
}

/// Changes the ledger as the host can, who knows the format.
fn change(directory: &Path, edit: impl FnOnce(&mut redb::Table<'_, u64, &'static [u8]>)) {
    let database = Database::open(directory.join(STORE)).unwrap();
    let transaction = database.begin_write().unwrap();
    edit(&mut transaction.open_table(LEDGER).unwrap());
    transaction.commit().unwrap();
}

/// Lets entries 1 and 2 change places.
pub fn exchange_entries(directory: &Path) {
    change(directory, |ledger| {
        let record = |index| ledger.get(index).unwrap().unwrap().value().to_vec();
        let [first, second] = [1, 2].map(record);
        ledger.insert(1, second.as_slice()).unwrap();
        ledger.insert(2, first.as_slice()).unwrap();
    });
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let place = Place::with_three_entries();
    let mut store = place.open().unwrap();
    let entries = store.read(&place.key, 0, 100).unwrap();
    assert_eq!(entries.iter().map(|entry| &entry[..]).collect::<Vec<_>>(), [b"0", b"1", b"2"]);
    assert_eq!(store.read(&place.key, 1, 1).unwrap()[0][..], b"1"[..]);
    assert!(store.read(&place.key, 3, 1).unwrap().is_empty());
    assert_eq!(store.root_certificate().unwrap().as_deref(), Some("r"));
    assert_eq!(store.images().unwrap(), [(OsImageHash::of(b"{}"), b"{}".to_vec())]);
    store.clear_images().unwrap();
    assert!(store.images().unwrap().is_empty());
}

#[test]
fn entries_are_not_readable_on_the_disk_and_no_two_records_are_alike() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path(), CLUSTER_ID).unwrap();
    let key = StoreKey::new(Zeroizing::new([9; 32]));
    let marker = b"a marker that stands nowhere else";
    store.commit(&key, &Change { entries: vec![marker, marker], root_certificate: None }).unwrap();
    drop(store);
    let file = fs::read(directory.path().join(STORE)).unwrap();
    assert!(!file.windows(marker.len()).any(|window| window == marker));
    // What comes before a record is the name of its key.
    let salt = |index, entry: &[u8]| key.seal(&CLUSTER_ID, index, entry)[..32].to_vec();
    assert_ne!(
        salt(0, marker),
        salt(0, b"another"),
        "a rolled back index is sealed with a new key"
    );
    assert_ne!(salt(0, marker), salt(1, marker));
    assert_eq!(key.seal(&CLUSTER_ID, 0, marker), key.seal(&CLUSTER_ID, 0, marker));
}

#[test]
fn one_lost_file_is_no_beginning() {
    for (lost, kept) in [(STORE, MARKER), (MARKER, STORE)] {
        let place = Place::with_three_entries();
        fs::remove_file(place.file(lost)).unwrap();
        match place.open() {
            Err(StoreError::Lost { found, missing }) => assert_eq!((found, missing), (kept, lost)),
            other => panic!("{other:?}"),
        }
    }
    let place = Place::with_three_entries();
    fs::write(place.file(STORE), b"").unwrap();
    assert!(matches!(place.open(), Err(StoreError::Database(_))));
}

#[test]
fn strange_files_and_another_clusters_data_are_refused() {
    let place = Place::with_three_entries();
    assert!(matches!(
        open(place.directory.path(), Sha256Digest([8; 32])),
        Err(StoreError::Foreign { .. })
    ));
    fs::write(place.file("kms.redb.bak"), b"").unwrap();
    assert!(matches!(place.open(), Err(StoreError::Strange(_))));
}

#[test]
fn a_first_start_that_was_cut_begins_again_and_only_then() {
    let place = Place {
        directory: tempfile::tempdir().unwrap(),
        key: StoreKey::new(Zeroizing::new([9; 32])),
    };
    fs::write(place.file("kms.redb.new"), b"half").unwrap();
    drop(place.open().unwrap());
    fs::remove_file(place.file(MARKER)).unwrap();
    drop(place.open().unwrap());
    assert!(place.file(MARKER).exists());
}

#[test]
fn a_gap_a_missing_tail_and_a_surplus_are_refused_by_their_place() {
    type Edit = fn(&mut redb::Table<'_, u64, &'static [u8]>);
    let rows: [(Edit, &str); 4] = [
        (|ledger| drop(ledger.remove(1).unwrap()), "entry 1 is missing"),
        (|ledger| drop(ledger.remove(2).unwrap()), "entry 2 is missing"),
        (|ledger| ledger.retain(|_, _| false).unwrap(), "entry 0 is missing"),
        (|ledger| drop(ledger.insert(3, &b"x"[..]).unwrap()), "and 4 are stored"),
    ];
    for (edit, expected) in rows {
        let place = Place::with_three_entries();
        place.change(edit);
        let error = place.open().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_changed_moved_or_foreign_record_does_not_open() {
    let place = Place::with_three_entries();
    let store = place.open().unwrap();
    let other = StoreKey::new(Zeroizing::new([1; 32]));
    assert!(matches!(store.read(&other, 0, 1), Err(StoreError::Seal(0))));
    drop(store);
    place.change(|ledger| {
        let first = ledger.get(0).unwrap().unwrap().value().to_vec();
        ledger.insert(1, first.as_slice()).unwrap();
        let mut last = ledger.get(2).unwrap().unwrap().value().to_vec();
        *last.last_mut().unwrap() ^= 1;
        ledger.insert(2, last.as_slice()).unwrap();
    });
    let store = place.open().unwrap();
    assert!(store.read(&place.key, 0, 1).is_ok());
    assert!(matches!(store.read(&place.key, 0, 3), Err(StoreError::Seal(1))));
    assert!(matches!(store.read(&place.key, 2, 1), Err(StoreError::Seal(2))));
}

#[test]
fn a_bit_anywhere_in_the_file_is_an_error_or_changes_nothing() {
    let place = Place::with_three_entries();
    let whole = fs::read(place.file(STORE)).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 64) {
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        fs::write(place.file(STORE), &changed).unwrap();
        // A library that stops on a broken file is an error as good as another.
        let opened = std::panic::catch_unwind(|| {
            let store = open(place.directory.path(), CLUSTER_ID).ok()?;
            store.read(&StoreKey::new(Zeroizing::new([9; 32])), 0, 100).ok()
        });
        if let Ok(Some(entries)) = opened {
            assert_eq!(entries.len(), 3, "byte {at}");
        }
    }
}
