//! The app's move to another host, which is another platform, and has a KMS of strangers too.

use std::path::Path;

use serde_json::json;
use tests::dstyx::User;

use crate::failover::kms_url;
use crate::notes::{KMS, NAME, Owner, add, notes, start_in, up_in};
use crate::policy::{next_policy, set_policy};
use crate::step;

/// An address at which nothing listens.
const NOBODY: &str = "https://127.0.0.1:1";

/// Another host, with a KMS of its own, whose owner allows the app as `owner` does.
pub fn with_a_kms_of_strangers(owner: &Owner, directory: &Path) -> Owner {
    let other = Owner::default();
    let started = other.0.dstyx(["kms", "start", "--emulate"]);
    assert_eq!(started.code, 0, "{started:#?}");
    let theirs = next_policy(&owner.0, directory);
    set_policy(&other.0, directory, |policy| {
        for key in ["apps", "os_images"] {
            policy[key] = theirs[key].clone();
        }
    });
    other
}

/// The disk opens on another host, where the keys come from the same KMS, if the policy names that
/// host's platform; then the first host's copy of it is an older one. `kept` are the notes on it.
pub fn the_app_moves(owner: &Owner, other: &Owner, directory: &Path, kept: &[String]) {
    let user = &owner.0;
    let file = directory.join("exported");
    let path = file.display().to_string();
    let exported = user.dstyx(["export", NAME, &path]);
    assert_eq!(exported.code, 0, "{exported:#?}");

    let imported = other.0.dstyx(["import", NAME, &path]);
    assert_eq!(imported.code, 0, "{imported:#?}");
    let (here, there) = (platform_id(user), platform_id(&other.0));
    assert_ne!(here, there, "two hosts are two platforms");

    // A platform that the policy does not name gets no key, and its guest says which rule it is.
    set_policy(user, directory, |policy| policy["platform_ids"] = json!([here]));
    let url = kms_url(user);
    let refused =
        step("move: to another platform", || up_in(&other.0, directory, &["--kms", &url]));
    assert_ne!(refused.code, 0, "{refused:#?}");
    let console = other.0.console(NAME);
    assert!(console.contains("platform-id"), "{console}");
    other.0.dstyx(["down", NAME]);

    // Nobody answers at the first address, and at the second a genuine KMS that would give keys is
    // not the one that the measured file pins: the third is asked.
    set_policy(user, directory, |policy| policy["platform_ids"] = json!([here, there]));
    let urls = ["--kms", NOBODY, "--kms", &kms_url(&other.0), "--kms", &url];
    let up = step("move: past a KMS of strangers", || start_in(&other.0, directory, &urls));
    assert_eq!(notes(&up), kept);
    let console = other.0.console(NAME);
    assert!(console.contains("no address is proved to be the pinned KMS"), "{console}");
    add(&up, "on the other host");
    other.0.dstyx(["down", NAME]);

    let left_behind = step("move: back to what stayed", || up_in(user, directory, &[]));
    assert_ne!(left_behind.code, 0, "{left_behind:#?}");
    assert!(left_behind.stderr.contains("older"), "{left_behind:#?}");
    user.dstyx(["down", NAME]);
}

/// The PPID of the platform on which a user's KMS runs.
fn platform_id(user: &User) -> String {
    let verdict = user.dstyx(["verify", "--vm", KMS, "--vcpus", "1", "--memory", "1024"]);
    verdict.passes();
    verdict.text("/facts/ppid").to_owned()
}
