//! A KMS over a store that is put back to what it held earlier, and over a real etcd whose members
//! are killed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ::tests::etcd::{Etcd, MEMBERS};
use protocol::kms::EtcdEndpoints;

use super::*;
use crate::store::Location;

/// How long a guest asks again.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the load goes on between two changes.
const LOAD: Duration = Duration::from_millis(500);

/// A cluster of one owner whose KMS stores in this etcd, and has no directory.
fn place(etcd: &Etcd) -> Place {
    let mut place = Place::new("/nonexistent".as_ref(), 1, 1);
    place.config.store = Location::Etcd(EtcdEndpoints::parse(&etcd.addresses()).unwrap());
    place
}

/// Opens an instance's disk as its guest does, who asks again where another time may be better.
fn open_in_time(member: &Member, instance: u8) -> u64 {
    let started = Instant::now();
    loop {
        match open(member, instance) {
            Ok(opened) => return opened.open_counter,
            Err(error) if started.elapsed() < PATIENCE => {
                assert_eq!(error.status(), UNAVAILABLE_STATUS, "{error}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn lines(member: &Member, place: &Place) -> Vec<String> {
    let (mut lines, total) = (Vec::new(), place.status(member).entries);
    while (lines.len() as u64) < total {
        let request = Request::Ledger(LedgerRequest { from: lines.len() as u64 });
        let page: LedgerResponse = call(member, &place.owner(0), request).unwrap();
        lines.extend(page.entries);
    }
    lines
}

#[test]
fn any_one_member_of_etcd_may_be_killed_under_load() {
    let mut etcd = Etcd::start();
    let place = place(&etcd);
    let (member, shares) = place.serving();
    (1..=4).for_each(|instance| drop(keys(&member, instance).unwrap()));
    let before = place.status(&member).entries;
    let counters = Mutex::new(Vec::new());
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        for instance in 1..=4 {
            let (member, counters, ended) = (&member, &counters, &ended);
            scope.spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    let counter = open_in_time(member, instance);
                    counters.lock().unwrap().push((instance, counter));
                }
            });
        }
        for at in 0..MEMBERS {
            etcd.kill(at);
            let answered = counters.lock().unwrap().len();
            let started = Instant::now();
            while counters.lock().unwrap().len() < answered + 8 {
                assert!(started.elapsed() < PATIENCE, "nothing is answered without member {at}");
                thread::sleep(Duration::from_millis(10));
            }
            etcd.restart(at);
            etcd.wait_for(at);
            thread::sleep(LOAD);
        }
        ended.store(true, Ordering::Relaxed);
    });
    let counters = counters.into_inner().unwrap();
    println!("{} disks were opened while members were killed", counters.len());
    assert_eq!(counters.iter().collect::<BTreeSet<_>>().len(), counters.len());
    let stored = lines(&member, &place);
    assert!(stored.len() as u64 >= before + counters.len() as u64, "an answer without its entry");
    audit::verify(stored.iter().map(String::as_str)).unwrap();
    drop(member);

    let member = place.start();
    let give = Request::GiveShare(shares[0].clone());
    let status: StatusResponse = call(&member, &place.owner(0), give).unwrap();
    assert_eq!((status.state.as_str(), status.entries), ("waiting", stored.len() as u64));
    assert_eq!(lines(&member, &place), stored);
}

#[test]
fn without_a_majority_of_etcd_nothing_is_decided_and_nothing_is_lost() {
    let mut etcd = Etcd::start();
    let place = place(&etcd);
    let (member, _) = place.serving();
    keys(&member, 1).unwrap();
    let first = open(&member, 1).unwrap().open_counter;
    let before = place.status(&member).entries;
    (0..2).for_each(|at| etcd.kill(at));
    let error = open(&member, 1).unwrap_err();
    assert_eq!(error.status(), UNAVAILABLE_STATUS);
    assert!(error.to_string().contains("etcd does not answer: http://127.0.0.1:"), "{error}");
    (0..2).for_each(|at| etcd.restart(at));
    (0..2).for_each(|at| etcd.wait_for(at));
    // The decision without an answer is stored before anything else; its number is used up.
    let status = place.status(&member);
    assert_eq!((status.state.as_str(), status.entries), ("serving", before + 1));
    assert_eq!(open(&member, 1).unwrap().open_counter, first + 2);
    audit::verify(lines(&member, &place).iter().map(String::as_str)).unwrap();
}

#[test]
fn an_etcd_that_was_put_back_is_not_gone_on_from() {
    let mut etcd = Etcd::start();
    let place = place(&etcd);
    let (member, shares) = place.serving();
    keys(&member, 1).unwrap();
    open(&member, 1).unwrap();
    let held = etcd.copy();
    let older = place.status(&member);
    let last = (0..3).map(|_| open_in_time(&member, 1)).last().unwrap();
    let newer = place.status(&member);
    assert_eq!(newer.entries, older.entries + 3);

    // The process that runs has the state in its memory, and stores nothing behind a gap.
    etcd.put_back(&held);
    let error = open(&member, 1).unwrap_err();
    let expected = format!("etcd has no entry {} any more", newer.entries - 1);
    assert!(error.to_string().contains(&expected), "{error}");
    assert!(matches!(open(&member, 1), Err(MemberError::Broken)));
    drop(member);

    goes_on_only_by_its_owners_word(&place, &shares[0], (&older, newer, last));
}

#[test]
fn a_disk_that_was_put_back_is_not_gone_on_from() {
    let data = tempfile::tempdir().unwrap();
    let place = Place::new(data.path(), 1, 1);
    let (member, shares) = place.serving();
    keys(&member, 1).unwrap();
    open(&member, 1).unwrap();
    // A host copies the disk of a guest that runs.
    let file = data.path().join("kms.redb");
    let (held, older) = (std::fs::read(&file).unwrap(), place.status(&member));
    let last = (0..3).map(|_| open_in_time(&member, 1)).last().unwrap();
    let newer = place.status(&member);
    drop(member);

    std::fs::write(&file, held).unwrap();
    goes_on_only_by_its_owners_word(&place, &shares[0], (&older, newer, last));
}

/// A process starts over an older state than its owners have seen: it waits for them, and no number
/// comes back where they accept the loss. `last` is the last open counter that was given out.
fn goes_on_only_by_its_owners_word(
    place: &Place,
    share: &Share,
    (older, newer, last): (&StatusResponse, StatusResponse, u64),
) {
    let member = place.start();
    assert_eq!(place.status(&member).state, "locked");
    let give = Request::GiveShare(share.clone());
    let status: StatusResponse = call(&member, &place.owner(0), give).unwrap();
    assert_eq!((status.state.as_str(), status.entries), ("waiting", older.entries));
    assert_eq!(status.head, older.head);
    for error in [keys(&member, 1).unwrap_err(), open(&member, 1).unwrap_err()] {
        assert_eq!(error.status(), UNAVAILABLE_STATUS);
        assert!(error.to_string().contains("waiting"), "{error}");
    }
    let seen = StatusResponse { member: status.member.clone(), ..newer };
    let error = refused(&member, place, Request::Resume(place.resumption(&seen)));
    assert!(error.contains("entries with the head"), "{error}");
    let resumption = Request::Resume(place.resumption(&status));
    let _: StatusResponse = call(&member, &place.owner(0), resumption).unwrap();
    assert!(open(&member, 1).unwrap().open_counter > last);
}

#[test]
fn one_member_of_etcd_that_was_put_back_changes_nothing() {
    let mut etcd = Etcd::start();
    let place = place(&etcd);
    let (member, shares) = place.serving();
    keys(&member, 1).unwrap();
    let held = etcd.copy();
    let mut counters: Vec<u64> = (0..8).map(|_| open_in_time(&member, 1)).collect();
    etcd.put_back_one(&held, 1);
    counters.extend((0..8).map(|_| open_in_time(&member, 1)));
    assert_eq!(counters.iter().collect::<BTreeSet<_>>().len(), counters.len());
    let stored = lines(&member, &place);
    drop(member);
    let member = place.start();
    let give = Request::GiveShare(shares[0].clone());
    let _: StatusResponse = call(&member, &place.owner(0), give).unwrap();
    assert_eq!(lines(&member, &place), stored);
}
