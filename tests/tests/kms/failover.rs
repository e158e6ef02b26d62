//! A KMS that goes away while it releases keys, and comes back.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::status::{self, Phase, Record};
use tests::dstyx::User;

use crate::notes::{KMS, NAME, NOTES, Owner, cut_power, notes, start_in};
use crate::versions::BY_THE_SECOND;

/// Between two looks at a machine's status.
const POLL: Duration = Duration::from_millis(100);
/// From the agent's start until it has its channel or waits for it, on loaded cores.
const UNTIL_IT_ASKS: Duration = Duration::from_secs(5);

/// The KMS stands still before the guest asks it and is killed while the guest waits for its
/// answer. The guest asks again until the KMS is back: it then has its keys, each event of its log
/// once, and an open counter of its own. The guest is that of the second version, which finds what
/// it left before the third. Returns the notes.
pub fn the_kms_goes_away_during_the_release(owner: &Owner, directory: &Path) -> Vec<String> {
    let user = &owner.0;
    let url = kms_url(user);
    kill(Pid::from_raw(user.qemu(KMS)), Signal::SIGSTOP).unwrap();
    let up = std::thread::scope(|scope| {
        let up = scope.spawn(|| start_in(user, directory, &["--upgrade", "--kms", &url]));
        while !has_reached(user, Phase::AgentStarted) {
            assert!(!up.is_finished(), "the machine ended before its agent started");
            std::thread::sleep(POLL);
        }
        std::thread::sleep(UNTIL_IT_ASKS);
        assert!(!has_reached(user, Phase::KeysReleased));
        cut_power(user, KMS);
        let started = user.dstyx(["kms", "start", "--emulate"]);
        assert_eq!(started.code, 0, "{started:#?}");
        // The verdict of `up` has a row for events that occur twice.
        up.join().unwrap()
    });
    let kept = notes(&up);
    assert_eq!(kept, [&NOTES[..], &[BY_THE_SECOND]].concat());
    user.dstyx(["down", NAME]);

    // No open counter is given out twice: such a ledger is refused.
    let ledger = directory.join("ledger").display().to_string();
    for verb in ["export", "verify"] {
        let answer = user.dstyx(["kms", "ledger", verb, &ledger]);
        assert_eq!(answer.code, 0, "{answer:#?}");
    }
    kept
}

/// Where guests of this host find the user's KMS.
pub fn kms_url(user: &User) -> String {
    let port = &user.record(KMS)["ports"][protocol::kms::CHANNEL_PORT.to_string()];
    format!("https://127.0.0.1:{port}")
}

/// The status records of the app's machine.
pub fn records(user: &User) -> Vec<Record> {
    let disk = fs::read(user.machine(NAME).join("status.img")).unwrap_or_default();
    status::decode(&disk).unwrap_or_default()
}

fn has_reached(user: &User, phase: Phase) -> bool {
    records(user).iter().any(|record| record.phase == phase)
}
