//! The next versions of the example `notes`: one that runs, and one that does not and is undone.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use protocol::digest::ComposeHash;
use protocol::status::Refusal;
use serde_json::json;
use tempfile::TempDir;

use crate::failover;
use crate::notes::{self, NAME, NOTES, Owner, add, notes, runs, start_in, up_in};
use crate::policy::set_policy;
use crate::step;

/// What the second version writes.
pub const BY_THE_SECOND: &str = "by the second version";
/// How long the guest of a version that fails may take until it ended: a minute of its trial, and
/// the app's and the guest's end.
const UNDONE_WITHIN: Duration = Duration::from_secs(240);

/// The second version of the app is started on the disk of the first. Returns its directory.
pub fn are_upgraded(owner: &Owner) -> TempDir {
    let user = &owner.0;
    let second = version(&[("interval: 10s", "interval: 11s")]);

    // Another file is another app, unless its owner says that it is a later version.
    let unsaid = up_in(user, second.path(), &[]);
    assert_ne!(unsaid.code, 0, "{unsaid:#?}");
    assert!(unsaid.stderr.contains("--upgrade"), "{unsaid:#?}");

    let up = start_in(user, second.path(), &["--upgrade"]);
    assert_eq!(notes(&up), NOTES);
    add(&up, BY_THE_SECOND);
    user.dstyx(["down", NAME]);
    second
}

/// The example with changes of its compose file, in a directory of its own.
fn version(changes: &[(&str, &str)]) -> TempDir {
    let directory = notes::directory();
    let file = directory.path().join("docker-compose.yml");
    let mut compose = fs::read_to_string(&file).unwrap();
    for (from, to) in changes {
        assert!(compose.contains(from), "{from}: {compose}");
        compose = compose.replace(from, to);
    }
    fs::write(file, compose).unwrap();
    directory
}

/// A third version writes, and never is healthy: its guest puts the volumes back and ends. The
/// second one gets keys again once the owner lets the app go back to it. What `meanwhile` did while
/// the version was on trial.
pub fn that_fail_are_undone<T>(owner: &Owner, second: &Path, meanwhile: impl FnOnce() -> T) -> T {
    let user = &owner.0;
    let third = version(&[
        (r#"["CMD", "/notes", "health"]"#, r#"["CMD", "/notes", "no such command"]"#),
        ("interval: 10s", "interval: 2s"),
        ("retries: 3", "retries: 1"),
    ]);
    let up = step("the third version", || up_in(user, third.path(), &["--upgrade"]));
    assert_ne!(up.code, 0, "{up:#?}");
    add(&up, "by the third version");
    let pid = user.qemu(NAME);
    let deadline = Instant::now() + UNDONE_WITHIN;
    let done = meanwhile();
    step("the third version ends", || {
        while runs(pid) {
            assert!(Instant::now() < deadline, "the guest of the third version did not end");
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let last = failover::records(user).into_iter().rfind(|record| record.refusal != Refusal::None);
    assert_eq!(last.unwrap().refusal, Refusal::UpgradeUndone);
    user.dstyx(["down", NAME]);

    // Going back is the owner's word, also after a version that failed.
    let unsaid = up_in(user, second, &["--upgrade"]);
    assert_ne!(unsaid.code, 0, "{unsaid:#?}");
    assert!(unsaid.stderr.contains("the KMS refuses this guest"), "{unsaid:#?}");
    user.dstyx(["down", NAME]);
    let hash = ComposeHash::of(&fs::read(second.join("app-compose.json")).unwrap());
    set_policy(user, third.path(), |policy| {
        policy["apps"][0]["danger_go_back_to"] = json!([hash.to_string()]);
    });
    done
}
