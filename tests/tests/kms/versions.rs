//! The next version of the example `notes`, and its move to another host: one instance and one disk
//! all the time.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use tests::dstyx::User;
use tests::lab;

use crate::notes::{KMS, NAME, NOTES, Owner, add, notes, start_in, up_in};

/// The second version of the app is started on the disk of the first. Returns its directory.
pub fn are_upgraded(owner: &Owner) -> TempDir {
    let user = &owner.0;
    // A disk belongs to one machine at a time.
    user.dstyx(["down", NAME]);

    let second = tempfile::tempdir().unwrap();
    let compose = lab::checkout().join("examples/notes/docker-compose.yml");
    let compose = fs::read_to_string(compose).unwrap();
    let changed = compose.replace("interval: 10s", "interval: 11s");
    assert_ne!(changed, compose);
    fs::write(second.path().join("docker-compose.yml"), changed).unwrap();

    // Another file is another app, unless its owner says that it is a later version.
    let unsaid = up_in(user, second.path(), &[]);
    assert_ne!(unsaid.code, 0, "{unsaid:#?}");
    assert!(unsaid.stderr.contains("--upgrade"), "{unsaid:#?}");

    let up = start_in(user, second.path(), &["--upgrade"]);
    assert_eq!(notes(&up), NOTES);
    add(&up, "by the second version");
    user.dstyx(["down", NAME]);
    second
}

/// The disk opens on another host, where the keys come from the same KMS; then the first host's
/// copy of it is an older one. `kept` are the notes on it.
pub fn move_to_another_host(owner: &Owner, directory: &Path, kept: &[String]) {
    let user = &owner.0;
    let file = directory.join("exported");
    let path = file.display().to_string();
    let exported = user.dstyx(["export", NAME, &path]);
    assert_eq!(exported.code, 0, "{exported:#?}");

    let other = Owner(User::default());
    let imported = other.0.dstyx(["import", NAME, &path]);
    assert_eq!(imported.code, 0, "{imported:#?}");
    let port = &user.record(KMS)["ports"][protocol::kms::CHANNEL_PORT.to_string()];
    let url = format!("https://127.0.0.1:{port}");
    let up = start_in(&other.0, directory, &["--kms", &url]);
    assert_eq!(notes(&up), kept);
    add(&up, "on the other host");
    other.0.dstyx(["down", NAME]);

    let left_behind = up_in(user, directory, &[]);
    assert_ne!(left_behind.code, 0, "{left_behind:#?}");
    assert!(left_behind.stderr.contains("older"), "{left_behind:#?}");
    user.dstyx(["down", NAME]);
}
