//! A real etcd that two processes use, whose contents somebody changes, and servers that are none.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use zeroize::Zeroizing;

use super::gateway::MAX_ANSWER_BYTES;
use super::*;
use crate::store::{Change, Location, Store, StoreKey};

const CLUSTER_ID: Sha256Digest = Sha256Digest([7; 32]);

fn key() -> StoreKey {
    StoreKey::new(Zeroizing::new([9; 32]))
}

/// One cluster's records in an etcd.
struct Place {
    addresses: String,
    cluster: Sha256Digest,
}

impl Place {
    fn open(&self) -> Result<Store, StoreError> {
        let endpoints = EtcdEndpoints::parse(&self.addresses).unwrap();
        Store::open(&Location::Etcd(endpoints), self.cluster)
    }

    /// With entries `0`, `1` and `2`, a root's certificate and an image.
    fn with_three_entries(addresses: &str, cluster: u8) -> Self {
        let place = Self { addresses: addresses.into(), cluster: Sha256Digest([cluster; 32]) };
        let mut store = place.open().unwrap();
        assert_eq!(store.entries(), 0);
        commit(&mut store, &[b"0", b"1"], Some("r")).unwrap();
        commit(&mut store, &[b"2"], None).unwrap();
        store.put_image(b"{}").unwrap();
        place
    }

    /// What who has access to etcd does to it.
    fn change(&self, change: impl FnOnce(&Keys) -> Vec<Operation>) {
        let keys = Keys { prefix: format!("dstyx/kms/{}/", self.cluster) };
        let gateway = Gateway::new(&EtcdEndpoints::parse(&self.addresses).unwrap());
        let transaction = Transaction { success: change(&keys), ..Transaction::default() };
        gateway.call(TRANSACTION, &transaction, done).unwrap();
    }

    /// The text of the error with which the store cannot be opened and read.
    fn refused(&self) -> String {
        let read = self.open().and_then(|store| store.read(&key(), 0, 100));
        read.map(|entries| entries.len()).unwrap_err().to_string()
    }
}

fn commit(
    store: &mut Store,
    entries: &[&[u8]],
    root_certificate: Option<&str>,
) -> Result<(), StoreError> {
    store.commit(&key(), &Change { entries: entries.to_vec(), root_certificate })
}

fn delete(key: Bytes) -> Operation {
    let range_end = Bytes([&key.0[..], &[0]].concat());
    Operation::Delete { key, range_end }
}

/// The address of a server that answers each request with these bytes.
fn answering(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&answer);
            // What the client still sends is read: a connection that is closed over it is reset.
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    address
}

fn ok(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").into()
}

/// A network in front of etcd that loses the answer to the next request that is in its way.
fn losing_one_answer(address: &str) -> String {
    let behind = address.strip_prefix("http://").unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let front = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for (turn, stream) in listener.incoming().enumerate() {
            let (mut near, mut far) = (stream.unwrap(), TcpStream::connect(&behind).unwrap());
            let (mut request, mut answer) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            let mut up = far.try_clone().unwrap();
            thread::spawn(move || std::io::copy(&mut request, &mut up));
            thread::spawn(move || {
                if turn == 0 {
                    // etcd has answered, so it was done; nobody hears of it.
                    let _ = answer.read(&mut [0; 1]);
                    let _ = near.shutdown(Shutdown::Both);
                    let _ = far.shutdown(Shutdown::Both);
                } else {
                    let _ = std::io::copy(&mut far, &mut near);
                }
            });
        }
    });
    front
}

#[test]
fn a_real_etcd_keeps_records_and_hides_no_change_of_them() {
    let etcd = ::tests::etcd::Etcd::start();
    let all = etcd.addresses();
    what_was_committed_is_there_after_a_restart(&all);
    what_is_large_is_written_and_read_in_parts(&all);
    two_processes_cannot_take_one_place(&all);
    an_append_whose_answer_was_lost_is_made_once(&all);
    what_somebody_changes_is_refused_by_its_place(&all);
    a_later_certificate_replaces_an_earlier_one_and_no_later_one(&all);
}

fn what_was_committed_is_there_after_a_restart(addresses: &str) {
    let place = Place::with_three_entries(addresses, 1);
    let mut store = place.open().unwrap();
    let entries = store.read(&key(), 0, 100).unwrap();
    assert_eq!(entries.iter().map(|entry| &entry[..]).collect::<Vec<_>>(), [b"0", b"1", b"2"]);
    assert_eq!(store.read(&key(), 1, 1).unwrap()[0][..], b"1"[..]);
    assert!(store.read(&key(), 3, 1).unwrap().is_empty());
    assert_eq!(store.root_certificate().unwrap().as_deref(), Some("r"));
    let image = protocol::digest::OsImageHash::of(b"{}");
    assert_eq!(store.images().unwrap(), [(image, b"{}".to_vec())]);
    store.clear_images().unwrap();
    assert!(store.images().unwrap().is_empty());
    for image in 0..MAX_IMAGES {
        store.put_image(image.to_string().as_bytes()).unwrap();
    }
    assert_eq!(store.images().unwrap().len() as u64, MAX_IMAGES);
    store.put_image(b"0").unwrap();
    assert!(matches!(store.put_image(b"another"), Err(StoreError::Images)));
    let other = Place { addresses: addresses.into(), cluster: Sha256Digest([2; 32]) };
    assert_eq!(other.open().unwrap().entries(), 0);
}

fn what_is_large_is_written_and_read_in_parts(addresses: &str) {
    let place = Place { addresses: addresses.into(), cluster: Sha256Digest([3; 32]) };
    let mut store = place.open().unwrap();
    let entry = vec![b'x'; 256 << 10];
    let many = [&entry[..]; 16];
    commit(&mut store, &many, Some("r")).unwrap();
    let small: Vec<Vec<u8>> = (0..200).map(|index| vec![index]).collect();
    let all: Vec<&[u8]> = small.iter().map(Vec::as_slice).collect();
    commit(&mut store, &all, None).unwrap();
    let entries = place.open().unwrap().read(&key(), 0, 1000).unwrap();
    assert_eq!(entries.len(), 216);
    assert!(entries[..16].iter().all(|read| **read == entry));
    assert!(entries[16..].iter().zip(&small).all(|(read, entry)| **read == *entry));
}

fn two_processes_cannot_take_one_place(addresses: &str) {
    let place = Place::with_three_entries(addresses, 4);
    let [mut first, mut second] = [(), ()].map(|()| place.open().unwrap());
    commit(&mut first, &[b"the first's"], None).unwrap();
    let error = commit(&mut second, &[b"the second's"], None).unwrap_err();
    assert!(matches!(error, StoreError::Taken(3)), "{error}");
    assert!(!error.is_unsettled());
    let read = place.open().unwrap().read(&key(), 3, 2).unwrap();
    assert_eq!(read.iter().map(|entry| &entry[..]).collect::<Vec<_>>(), [b"the first's"]);
    // What both have agreed on is there once, whoever was first.
    let [mut first, mut second] = [(), ()].map(|()| place.open().unwrap());
    commit(&mut first, &[b"4"], None).unwrap();
    commit(&mut first, &[b"5", b"6"], None).unwrap();
    commit(&mut second, &[b"4", b"5"], None).unwrap();
    commit(&mut second, &[b"6", b"7"], None).unwrap();
    commit(&mut first, &[b"7"], None).unwrap();
    let read = place.open().unwrap().read(&key(), 4, 9).unwrap();
    assert_eq!(read.iter().map(|entry| &entry[..]).collect::<Vec<_>>(), [b"4", b"5", b"6", b"7"]);
}

fn a_later_certificate_replaces_an_earlier_one_and_no_later_one(addresses: &str) {
    let place = Place::with_three_entries(addresses, 6);
    let [mut first, mut second] = [(), ()].map(|()| place.open().unwrap());
    commit(&mut first, &[b"3"], Some("s")).unwrap();
    commit(&mut first, &[b"4"], Some("t")).unwrap();
    // A process that is behind stores what is there already.
    commit(&mut second, &[b"3"], Some("s")).unwrap();
    assert_eq!(place.open().unwrap().root_certificate().unwrap().as_deref(), Some("t"));
    commit(&mut second, &[b"4", b"5"], Some("t")).unwrap();
    let store = place.open().unwrap();
    assert_eq!((store.entries(), store.root_certificate().unwrap().as_deref()), (6, Some("t")));
}

fn an_append_whose_answer_was_lost_is_made_once(addresses: &str) {
    let place = Place::with_three_entries(addresses, 5);
    let mut store = place.open().unwrap();
    let behind = losing_one_answer(addresses.split(',').next().unwrap());
    // The store is as it was opened, but for the way to etcd.
    let endpoints = EtcdEndpoints::parse(&behind).unwrap();
    let mut etcd = Etcd {
        gateway: Gateway::new(&endpoints),
        keys: Keys { prefix: format!("dstyx/kms/{}/", place.cluster) },
        entries: store.entries(),
        unsettled: None,
    };
    etcd.append(vec![key().seal(&place.cluster, 3, b"once")], None).unwrap();
    assert_eq!(etcd.entries(), 4);
    let read = place.open().unwrap().read(&key(), 3, 2).unwrap();
    assert_eq!(read.iter().map(|entry| &entry[..]).collect::<Vec<_>>(), [b"once"]);
    assert!(matches!(commit(&mut store, &[b"twice"], None), Err(StoreError::Taken(3))));
}

fn what_somebody_changes_is_refused_by_its_place(addresses: &str) {
    type Change = fn(&Keys) -> Vec<Operation>;
    let rows: [(Change, &str); 8] = [
        (|keys| vec![delete(keys.record(1))], "entry 1 is missing"),
        (|keys| vec![delete(keys.record(0))], "entry 0 is missing"),
        (|keys| vec![delete(keys.format())], "a ledger is there and its format is not"),
        (|keys| vec![write(keys.format(), b"dstyx-kms-store-2")], "another version"),
        (|keys| vec![write(keys.record(1), b"short")], "entry 1 of the ledger was changed"),
        (|keys| vec![write(keys.record(7), b"x")], "entry 3 is missing"),
        (|keys| vec![write(keys.key("ledger/x"), b"x")], "entry 3 is missing"),
        (
            |keys| (0..3).map(|index| delete(keys.record(index))).collect(),
            "a certified root has a ledger",
        ),
    ];
    for (row, (change, expected)) in rows.into_iter().enumerate() {
        let place = Place::with_three_entries(addresses, 0x40 + row as u8);
        place.change(change);
        let error = place.refused();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    let place = Place::with_three_entries(addresses, 0x60);
    let mut store = place.open().unwrap();
    place.change(|keys| vec![delete(keys.record(2))]);
    let error = commit(&mut store, &[b"3"], None).unwrap_err();
    assert!(matches!(error, StoreError::PutBack { stored: 3 }), "{error}");
    assert!(error.to_string().contains("etcd has no entry 2 any more"), "{error}");
    place.change(|keys| vec![write(keys.image(&[1; 32]), b"{}")]);
    assert!(matches!(store.images(), Err(StoreError::Image(_))));
}

fn write(key: Bytes, value: &[u8]) -> Operation {
    Operation::Put { key, value: Bytes(value.to_vec()) }
}

#[test]
fn answers_that_are_none_of_etcds_open_no_store() {
    let counts = r#"{"response_range":{"count":"0"}}"#;
    let format = r#"{"response_range":{"kvs":[{"key":"eA==","value":"eA=="}],"count":"1"}}"#;
    let nothing = format!(r#"{{"succeeded":true,"responses":[{counts},{counts},{counts}]}}"#);
    let strange = format!(r#"{{"responses":[{format},{counts},{counts},{counts}]}}"#);
    let rows: [(Vec<u8>, &str); 10] = [
        (ok("{}"), "not four ranges"),
        (ok(&nothing), "not four ranges"),
        (ok(&strange), "it has another version"),
        (ok(r#"{"succeeded":true,"more":1}"#), "unknown field `more`"),
        (ok(r#"{"responses":[{"response_range":{"count":"-1"}}]}"#), "invalid digit"),
        (ok(r#"{"responses":[{"response_range":{"count":1}}]}"#), "invalid type"),
        (ok(r#"{"responses":[{"response_range":{"kvs":[{"key":"?"}]}}]}"#), "Invalid symbol"),
        (ok("{}{}"), "trailing characters"),
        (
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 25\r\n\r\n{\"error\":\"no\\u0007 path\"}"
                .to_vec(),
            "status 404 Not Found: no path",
        ),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n".to_vec(), "status 302"),
    ];
    for (answer, expected) in rows {
        let place = Place { addresses: answering(answer), cluster: CLUSTER_ID };
        let error = place.open().unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
        assert!(!error.hint().is_empty());
    }
    let long = [ok("").as_slice(), &vec![b' '; MAX_ANSWER_BYTES + 1]].concat();
    let long = String::from_utf8(long).unwrap().replace("Content-Length: 0\r\n", "");
    let place = Place { addresses: answering(long.into()), cluster: CLUSTER_ID };
    let error = place.open().unwrap_err().to_string();
    assert!(error.contains("more than 4194304 bytes"), "{error}");
}

#[test]
fn pairs_that_were_not_asked_for_are_refused() {
    let pair = |key: &[u8]| format!(r#"{{"key":"{}"}}"#, base64(key));
    let rows = [
        vec![pair(b"a"), pair(b"b"), pair(b"c")],
        vec![pair(b"b"), pair(b"a")],
        vec![pair(b"a"), pair(b"a")],
        vec![pair(b"`")],
        vec![pair(b"d")],
    ];
    for row in rows {
        let text = format!(r#"{{"kvs":[{}],"more":true,"count":"9"}}"#, row.join(","));
        let answer: RangeAnswer = serde_json::from_str(&text).unwrap();
        let (from, end) = (Bytes(b"a".to_vec()), Bytes(b"d".to_vec()));
        assert!(within(answer, &from, &end, 2).is_err(), "{text}");
    }
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn a_member_that_answers_nonsense_is_passed_over() {
    let counts = r#"{"response_range":{"count":"0"}}"#;
    let empty =
        format!(r#"{{"succeeded":true,"responses":[{counts},{counts},{counts},{counts}]}}"#);
    let addresses = [answering(ok("<html>")), answering(ok(&empty))].join(",");
    assert_eq!(Place { addresses, cluster: CLUSTER_ID }.open().unwrap().entries(), 0);
}
