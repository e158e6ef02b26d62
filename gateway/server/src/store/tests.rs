//! A disk that is the host's: what is changed, put back or moved does not open.

use gateway_domain::account::Account;
use protocol::digest::InstanceId;
use protocol::fixtures::evidence_of;
use tempfile::TempDir;

use super::*;

const INSTANCE: InstanceId = InstanceId([7; 20]);

fn open(directory: &TempDir, instance: InstanceId) -> Result<Store, StoreError> {
    Store::open(directory.path(), StoreKey::derive(&[1; 32], &instance))
}

fn entry(number: u8) -> Entry {
    let uri = format!("https://authority.example/{number}");
    let account = Account::new("https://authority.example/dir", &uri, [number; 32]).unwrap();
    let evidence = evidence_of(&[number; 100]);
    let subject = Subject::Account(account);
    Entry { made_secs: 1, subject, evidence, collateral: "{}".to_owned() }
}

/// Writes a sealed value as the disk's holder does.
fn overwrite(directory: &TempDir, name: &str, value: Option<&[u8]>) {
    let database = Database::open(directory.path().join(FILE)).unwrap();
    let write = database.begin_write().unwrap();
    {
        let mut values = write.open_table(VALUES).unwrap();
        match value {
            Some(value) => drop(values.insert(name, value).unwrap()),
            None => drop(values.remove(name).unwrap()),
        }
    }
    write.commit().unwrap();
}

fn sealed(directory: &TempDir, name: &str) -> Vec<u8> {
    let database = Database::open(directory.path().join(FILE)).unwrap();
    let values = database.begin_read().unwrap().open_table(VALUES).unwrap();
    values.get(name).unwrap().unwrap().value().to_vec()
}

#[test]
fn values_and_evidence_are_there_again_and_the_disk_shows_no_value() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(&directory, INSTANCE).unwrap();
    assert_eq!(store.get("account").unwrap(), None);
    store.put("account", b"a secret of the gateway").unwrap();
    store.publish(&entry(1)).unwrap();
    store.publish(&entry(2)).unwrap();
    let text = store.evidence().unwrap();
    drop(store);
    let bytes = std::fs::read(directory.path().join(FILE)).unwrap();
    assert!(!bytes.windows(8).any(|window| window == b"a secret"));
    let store = open(&directory, INSTANCE).unwrap();
    assert_eq!(store.get("account").unwrap().unwrap().as_slice(), b"a secret of the gateway");
    assert_eq!(store.evidence().unwrap(), text);
    let (entries, _) = gateway_domain::published::read(&text, None).unwrap();
    assert_eq!(entries.len(), 2);
    let found = store.entry(|subject| *subject == entry(1).subject).unwrap().unwrap();
    assert_eq!(found.evidence.quote, entry(1).evidence.quote);
}

#[test]
fn a_value_that_was_changed_moved_put_back_or_taken_away_does_not_open() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(&directory, INSTANCE).unwrap();
    store.put("a", b"old").unwrap();
    drop(store);
    let old = sealed(&directory, "a");
    let mut store = open(&directory, INSTANCE).unwrap();
    store.put("a", b"new").unwrap();
    store.put("b", b"other").unwrap();
    drop(store);
    let new = sealed(&directory, "a");
    let mut changed = new.clone();
    changed[0] ^= 1;
    for bytes in [&old, &changed, &sealed(&directory, "b"), &Vec::new()] {
        overwrite(&directory, "a", Some(bytes));
        let store = open(&directory, INSTANCE).unwrap();
        assert!(matches!(store.get("a"), Err(StoreError::Seal(_))));
        assert_eq!(store.get("b").unwrap().unwrap().as_slice(), b"other");
    }
    overwrite(&directory, "a", None);
    let store = open(&directory, INSTANCE).unwrap();
    assert!(matches!(store.get("a"), Err(StoreError::Gone(_))));
    drop(store);
    overwrite(&directory, "a", Some(&new));
    let mut store = open(&directory, INSTANCE).unwrap();
    store.forget("a").unwrap();
    drop(store);
    overwrite(&directory, "a", Some(&new));
    let store = open(&directory, INSTANCE).unwrap();
    assert!(matches!(store.get("a"), Err(StoreError::Seal(_))), "what was forgotten is back");
}

#[test]
fn an_index_that_was_put_back_or_taken_away_and_lines_that_are_gone_stop_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(&directory, INSTANCE).unwrap();
    store.publish(&entry(1)).unwrap();
    drop(store);
    let old = sealed(&directory, INDEX);
    let mut store = open(&directory, INSTANCE).unwrap();
    store.publish(&entry(2)).unwrap();
    drop(store);
    let new = sealed(&directory, INDEX);
    overwrite(&directory, INDEX, Some(&old));
    assert!(matches!(open(&directory, INSTANCE), Err(StoreError::Published { line: 2, .. })));
    overwrite(&directory, INDEX, None);
    assert!(matches!(open(&directory, INSTANCE), Err(StoreError::NoIndex)));
    overwrite(&directory, INDEX, Some(&new));
    let database = Database::open(directory.path().join(FILE)).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(PUBLISHED).unwrap().remove(2).unwrap();
    write.commit().unwrap();
    drop(database);
    assert!(matches!(open(&directory, INSTANCE), Err(StoreError::Published { line: 1, .. })));
}

#[test]
fn a_removed_node_s_store_does_not_open_under_another_s_id() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(&directory, INSTANCE).unwrap();
    store.put("certificate", b"a key of the removed node").unwrap();
    drop(store);
    let other = open(&directory, InstanceId([8; 20]));
    assert!(matches!(other, Err(StoreError::Seal(_))), "{other:?}");
}

#[test]
fn one_process_has_the_store_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let _store = open(&directory, INSTANCE).unwrap();
    assert!(matches!(open(&directory, INSTANCE), Err(StoreError::Database(_))));
}
