//! Promises of keys: a KMS in a guest of its own, apps whose data last, and hosts that try to get
//! keys or to turn a disk back.
//!
//! A harness of its own, because its boots take turns and share one KMS.

#![allow(clippy::unwrap_used)] // the helpers of a test are tests too

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

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
#[path = "kms/policy.rs"]
mod policy;
#[path = "kms/power_cuts.rs"]
mod power_cuts;
#[path = "kms/replicas.rs"]
mod replicas;
#[path = "kms/rows.rs"]
mod rows;
#[path = "kms/sdk.rs"]
mod sdk;
#[path = "kms/search.rs"]
mod search;
#[path = "kms/strangers.rs"]
mod strangers;
#[path = "kms/versions.rs"]
mod versions;
#[path = "kms/volumes.rs"]
mod volumes;

fn main() -> ExitCode {
    if let Some(code) = reproducible_build::sandbox::run_if_child() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let mut trials = vec![
        Trial::test(
            "sectors of a kept disk that are changed, older or another branch's give errors, and never other data",
            || {
                disk_attacks::give_errors_and_never_other_data();
                Ok(())
            },
        ),
        Trial::test(
            "volumes are put back as they were before a version's trial, also for the next boot",
            || {
                volumes::are_put_back_as_they_were_kept();
                Ok(())
            },
        ),
        Trial::test(
            "notes survive down, power cuts, a restarted KMS, an upgrade, one that is undone, a KMS that goes away and a move to another platform; dstack's SDKs have keys and a sealed environment, and seal one; rows of PostgreSQL survive a power cut; an older disk, another file, id or instance gets nothing",
            || {
                let owner = notes::survive();
                strangers::get_nothing(&owner);
                sdk::calls_have_keys(&owner);
                let second = versions::are_upgraded(&owner);
                versions::that_fail_are_undone(&owner, second.path());
                let kept = power_cuts::lose_nothing_that_was_answered(&owner, second.path());
                failover::the_kms_goes_away_during_the_release(&owner, second.path(), &kept);
                hosts::the_app_moves(&owner, second.path(), &kept);
                Ok(())
            },
        ),
    ];
    if tests::lab::long() {
        trials.push(Trial::test(
            "of three processes of a KMS in guests one is killed, the others decide, and it comes back",
            || {
                replicas::decide_together();
                Ok(())
            },
        ));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
