//! A rotation: the owner begins an epoch, the app's guest moves its disk to it, and the epoch
//! before it is retired.

use std::path::Path;

use protocol::status::Refusal;
use serde_json::Value;
use tests::dstyx::User;

use crate::failover::records;
use crate::notes::{NAME, Owner, notes, start_in};

/// The app's next boot moves its disk, and the one after the retirement opens it with nothing of
/// the first epoch. `kept` are the notes on it; what other apps have in the first epoch is given
/// up.
pub fn moves_the_disk(owner: &Owner, directory: &Path, kept: &[String]) {
    let user = &owner.0;
    let [(1, all)] = epochs(user)[..] else { panic!("{:?}", epochs(user)) };
    epoch(user, &["new"]);
    assert_eq!(epochs(user), [(1, all), (2, 0)]);

    let up = start_in(user, directory, &[]);
    assert_eq!(notes(&up), kept);
    assert!(is_told(user), "{:?}", records(user));
    assert_eq!(epochs(user), [(1, all - 1), (2, 1)]);
    user.dstyx(["down", NAME]);

    let others = (all - 1).to_string();
    epoch(user, &["retire", "1", "--danger-lose-instances", &others]);
    assert_eq!(epochs(user), [(2, all)]);
    let up = start_in(user, directory, &[]);
    assert_eq!(notes(&up), kept);
    assert!(!is_told(user));
    user.dstyx(["down", NAME]);
}

/// Each epoch, and how many instances run on it.
fn epochs(user: &User) -> Vec<(u64, u64)> {
    let listed = epoch(user, &["list"]);
    let of =
        |epoch: &Value| (epoch["epoch"].as_u64().unwrap(), epoch["instances"].as_u64().unwrap());
    listed.as_array().unwrap().iter().map(of).collect()
}

fn epoch(user: &User, arguments: &[&str]) -> Value {
    let answer = user.dstyx([&["kms", "epoch"], arguments].concat());
    assert_eq!(answer.code, 0, "{answer:#?}");
    answer.json
}

/// Whether the guest has said that it moves its disk.
fn is_told(user: &User) -> bool {
    records(user).iter().any(|record| record.refusal == Refusal::DiskMoves)
}
