//! The volumes of a version on trial, kept and put back by the agent's own source (`tests/rig`) on
//! the image's kernel, on a disk as a guest with a KMS mounts it.

use protocol::image::Flavour;
use tests::lab;
use tests::rig::Rig;

/// Bytes of the disk: the least that btrfs grows a file system to is 256 MiB.
const DISK_BYTES: u64 = 288 << 20;
/// A key of the test's.
const KEY: &str = "07";

/// What was written after a snapshot is gone when it is put back, also for the next boot; a
/// snapshot that is given up leaves what was written.
pub fn are_put_back_as_they_were_kept() {
    let init = env!("CARGO_BIN_EXE_disk-rig").as_ref();
    let rig = Rig::start(init, &lab::image(Flavour::Dev), DISK_BYTES);
    rig.does(&format!("open {}", KEY.repeat(64)));
    rig.does("fill btrfs");
    rig.does("mount 1 -");
    rig.does("volumes ensure");
    write(&rig, "settled");
    rig.does("remember settled");

    rig.does("volumes keep");
    write(&rig, "on-trial");
    rig.does("put volumes/new 10000 on-trial");
    let anchor = rig.does("commit");
    mounted_again(&rig, 2, &anchor);
    rig.does("volumes ensure");
    rig.does("volumes put-back");
    // As after a power cut before it was recorded.
    rig.does("volumes put-back");
    rig.does("recall settled");
    is_as_expected(&rig);
    let anchor = rig.does("commit");
    mounted_again(&rig, 3, &anchor);
    is_as_expected(&rig);

    // The next trial succeeds.
    rig.does("volumes keep");
    write(&rig, "settled-later");
    rig.does("volumes forget");
    is_as_expected(&rig);
    let anchor = rig.does("commit");
    mounted_again(&rig, 4, &anchor);
    is_as_expected(&rig);
}

fn write(rig: &Rig, tag: &str) {
    rig.does(&format!("put volumes/data 300000 {tag}"));
    rig.does(&format!("put directories/data 300000 {tag}"));
}

fn mounted_again(rig: &Rig, counter: u64, anchor: &str) {
    rig.does("unmount");
    rig.does(&format!("mount {counter} {anchor}"));
}

/// Every file is as it should be, and no other is there.
fn is_as_expected(rig: &Rig) {
    rig.does("forget-caches");
    let outcome = rig.check();
    assert_eq!((outcome.failed, outcome.wrong), (0, 0), "{outcome:?}");
}
