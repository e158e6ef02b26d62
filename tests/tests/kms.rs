//! Promises of keys: a KMS in a guest of its own, apps whose data last, and hosts that try to get
//! keys or to turn a disk back.
//!
//! A harness of its own, because its boots take turns in a few trials that need nothing of one
//! another: each has a user, and so a KMS, of its own.

#![allow(clippy::unwrap_used)] // the helpers of a test are tests too

use std::process::ExitCode;
use std::time::Instant;

use libtest_mimic::{Arguments, Trial};
use tests::registry::Registry;

#[path = "kms/disk_attacks.rs"]
mod disk_attacks;
#[path = "kms/envelopes.rs"]
mod envelopes;
#[path = "kms/failover.rs"]
mod failover;
#[path = "kms/hosts.rs"]
mod hosts;
#[path = "kms/notes.rs"]
mod notes;
#[path = "kms/pad_blows.rs"]
mod pad_blows;
#[path = "kms/pad_delegators.rs"]
mod pad_delegators;
#[path = "kms/pad_kills.rs"]
mod pad_kills;
#[path = "kms/pad_marks.rs"]
mod pad_marks;
#[path = "kms/pad_scene.rs"]
mod pad_scene;
#[path = "kms/pads.rs"]
mod pads;
#[path = "kms/policy.rs"]
mod policy;
#[path = "kms/power_cuts.rs"]
mod power_cuts;
#[path = "kms/replicas.rs"]
mod replicas;
#[path = "kms/rotation.rs"]
mod rotation;
#[path = "kms/rows.rs"]
mod rows;
#[path = "kms/sdk.rs"]
mod sdk;
#[path = "kms/search.rs"]
mod search;
#[path = "kms/served.rs"]
mod served;
#[path = "kms/stops.rs"]
mod stops;
#[path = "kms/strangers.rs"]
mod strangers;
#[path = "kms/versions.rs"]
mod versions;
#[path = "kms/volumes.rs"]
mod volumes;

/// Most trials at the same time. There is one more than cores: the guests of a trial keep less than
/// one busy.
const AT_ONCE: usize = 3;

fn main() -> ExitCode {
    if let Some(code) = reproducible_build::sandbox::run_if_child() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert(AT_ONCE.min(cores + 1));
    // In the order in which they begin: the longest first.
    let mut trials = vec![
        trial(
            "notes survive down, power cuts, a restarted KMS, an upgrade, one that is undone, a KMS that goes away, a rotation and a move to another platform; an older disk, another file, id or instance gets nothing",
            notes_last,
        ),
        trial(
            "notes that were answered survive power cuts that take what was not flushed, and a clone halts",
            power_cuts::lose_nothing_that_was_answered,
        ),
        trial(
            "dstack's SDKs have keys and a sealed environment, and seal one for an app whose rows in PostgreSQL survive power cuts",
            sdks_have_keys_and_rows_last,
        ),
        trial(
            "a service that the measured file names has programs run on Pads whose keys a KMS keeps, within their policies and past power cuts",
            pads::are_run_on_by_the_service_that_is_named,
        ),
        trial(
            "sectors of a kept disk that are changed, older or another branch's give errors, and never other data",
            disk_attacks::give_errors_and_never_other_data,
        ),
        trial(
            "volumes are put back as they were before a version's trial, also for the next boot",
            volumes::are_put_back_as_they_were_kept,
        ),
    ];
    if tests::lab::long() {
        trials.push(trial(
            "a guest that ends with its release statement gives its disk free when it is stopped, and is waited for after a power cut; a disk that was enlarged is used whole",
            stops::are_waited_for_unless_they_ended_in_order,
        ));
        trials.push(trial(
            "of three processes of a KMS in guests one is killed, the others decide, and it comes back",
            replicas::decide_together,
        ));
        trials.push(trial(
            "what is killed in the middle of a run on Pads loses no Pad, counts no use twice and leaves no plain text",
            pad_kills::lose_nothing_count_nothing_twice_and_leave_no_plain_text,
        ));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A promise under a name that says it.
fn trial(name: &str, promise: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        promise();
        Ok(())
    })
}

/// A part of a trial, with the time that it took.
fn step<T>(name: &str, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = work();
    println!("{name}: {:.0} s", begun.elapsed().as_secs_f64());
    done
}

/// One user's app and its KMS; each step goes on where the one before it ended.
fn notes_last() {
    let owner = notes::survive();
    let second = step("notes: the next version", || versions::are_upgraded(&owner));
    let (owner, second) = (&owner, second.path());
    let other = step("notes: a version that fails", || {
        // While it is on trial, the machine has little to do.
        versions::that_fail_are_undone(owner, second, || {
            step("notes: strangers", || strangers::get_nothing(owner));
            step("notes: another host", || hosts::with_a_kms_of_strangers(owner, second))
        })
    });
    let kept = step("notes: a KMS that goes away", || {
        failover::the_kms_goes_away_during_the_release(owner, second)
    });
    step("notes: a rotation", || rotation::moves_the_disk(owner, second, &kept));
    step("notes: a move", || hosts::the_app_moves(owner, &other, second, &kept));
}

/// One user's app on dstack's SDKs, and another one that they make envelopes for.
fn sdks_have_keys_and_rows_last() {
    let owner = notes::Owner::default();
    let registry = step("sdk: images", || Registry::of(&[sdk::IMAGES, rows::IMAGES].concat()));
    let recipient = envelopes::Recipient::new(&owner, &registry);
    let envelopes = sdk::calls_have_keys(&owner, &registry, &recipient);
    rows::survive_power_cuts(&owner, &registry, &recipient, &envelopes);
}
