//! A guest that ends with its release statement, on a disk that grows.

use std::fs::{self, File};
use std::path::Path;
use std::thread;
use std::time::Duration;

use protocol::app_compose::{AppFiles, KeyProvider, NewApp};
use protocol::digest::Sha256Digest;
use protocol::status::Refusal;
use serde_json::{Map, Value, json};
use tests::dstyx::{User, write_app};

use crate::failover::records;
use crate::notes::{self, NAME, Owner, add, cut_power, disk, notes, start_in, up_in};
use crate::step;

/// Between two looks at a machine's status.
const POLL: Duration = Duration::from_millis(100);
const GIB: u64 = 1 << 30;

/// A guest that is stopped in order gives its disk free at once, and the next one uses all of a
/// disk that was enlarged meanwhile. After a power cut the next one is told to wait, for nobody
/// knows that the earlier one has ended.
pub fn are_waited_for_unless_they_ended_in_order() {
    let owner = Owner::default();
    let user = &owner.0;
    let directory = notes::directory();
    write_measured_file(user, directory.path());
    let up = step("stops: first boot", || start_in(user, directory.path(), &[]));
    add(&up, "before the end");
    assert!(user.console(NAME).contains("the data disk is open: btrfs, 1024 MiB"));
    user.dstyx(["down", NAME]);

    File::options().write(true).open(disk(user)).unwrap().set_len(2 * GIB).unwrap();
    let up = step("stops: boot after an end in order", || start_in(user, directory.path(), &[]));
    assert_eq!(notes(&up), ["before the end"]);
    assert!(user.console(NAME).contains("the data disk is open: btrfs, 2048 MiB"));

    cut_power(user, NAME);
    step("stops: boot after a power cut", || is_told_to_wait(user, directory.path()));
}

/// The measured file of the example, which says that the guest ends with its statement.
fn write_measured_file(user: &User, directory: &Path) {
    let id = user.dstyx(["kms", "init"]).text("/key_provider_id").to_owned();
    let id = Sha256Digest::from_hex(&id).unwrap();
    let compose = fs::read_to_string(directory.join("docker-compose.yml")).unwrap();
    let files = AppFiles::new();
    let key_provider = KeyProvider::Kms { id };
    let new = NewApp { key_provider, ..NewApp::of("notes", &compose, &files) };
    let mut file: Map<String, Value> = serde_json::from_slice(&new.generate().unwrap()).unwrap();
    file.insert("without_kms".to_owned(), json!("stop"));
    write_app(directory, &compose, &serde_json::to_vec(&file).unwrap());
}

fn is_told_to_wait(user: &User, directory: &Path) {
    thread::scope(|scope| {
        let up = scope.spawn(|| up_in(user, directory, &[]));
        while !records(user).iter().any(|record| record.refusal == Refusal::DiskHeld) {
            assert!(!up.is_finished(), "the machine ended");
            thread::sleep(POLL);
        }
        user.dstyx(["down", NAME]);
        assert_ne!(up.join().unwrap().code, 0, "it waits");
    });
}
