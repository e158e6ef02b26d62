//! The next version of the example `notes`, power cuts while it writes, and its move to another
//! host: one instance and one disk all the time.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tests::dstyx::{Answer, User};
use tests::lab;

use crate::notes::{KMS, NAME, NOTES, Owner, add, cut_power, notes, start_in, try_to_add, up_in};

/// Power cuts of a run; `DSTYX_LONG` makes ten times as many.
const CUTS: usize = 10;
/// The longest time that the app writes before a cut.
const LONGEST_WRITING: Duration = Duration::from_millis(1500);
/// Notes that the app lists, the newest.
const MOST_SHOWN: usize = 50;

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

/// The power is cut again and again while notes are written: each that was answered is there.
/// Returns what was shown last.
pub fn survive_power_cuts(owner: &Owner, directory: &Path) -> Vec<String> {
    let user = &owner.0;
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    println!("power cuts at moments of the seed {seed}");
    let cuts = if lab::long() { 10 * CUTS } else { CUTS };
    let mut up = start_in(user, directory, &[]);
    let mut acknowledged = notes(&up);
    for cut in 0..cuts {
        let moment = moment(seed, cut);
        let (answered, unanswered) = write_until_cut(user, &up, cut, moment);
        acknowledged.extend(answered);
        up = start_in(user, directory, &[]);
        // The page has the newest only. The note that was under way may be there or not.
        let found = notes(&up);
        let with_unanswered = [&acknowledged[..], &[unanswered]].concat();
        let newest = |all: &[String]| all[all.len().saturating_sub(MOST_SHOWN)..].to_vec();
        assert!(
            [newest(&acknowledged), newest(&with_unanswered)].contains(&found),
            "cut {cut} of the seed {seed}: {found:?} of {acknowledged:?} and perhaps one more"
        );
        acknowledged = found;
    }
    user.dstyx(["down", NAME]);
    acknowledged
}

/// When the power is cut, since the app was started: the same for the same seed.
fn moment(seed: u128, cut: usize) -> Duration {
    let digest = Sha256::digest(format!("{seed} {cut}"));
    LONGEST_WRITING.mul_f64(f64::from(digest[0]) / 256.0)
}

/// Writes notes one by one until the power is cut at `moment`: those that were answered, and the
/// one that was not.
fn write_until_cut(
    user: &User,
    up: &Answer,
    cut: usize,
    moment: Duration,
) -> (Vec<String>, String) {
    let mut answered = Vec::new();
    let unanswered = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(moment);
            cut_power(user, NAME);
        });
        for number in 0.. {
            let text = format!("cut {cut} note {number}");
            if !try_to_add(up, &text) {
                return text;
            }
            answered.push(text);
        }
        unreachable!("the power was not cut")
    });
    (answered, unanswered)
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
