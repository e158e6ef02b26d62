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
#[path = "kms/notes.rs"]
mod notes;
#[path = "kms/power_cuts.rs"]
mod power_cuts;
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

fn main() -> ExitCode {
    if let Some(code) = reproducible_build::sandbox::run_if_child() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let trials = vec![
        Trial::test(
            "sectors of a kept disk that are changed, older or another branch's give errors, and never other data",
            || {
                disk_attacks::give_errors_and_never_other_data();
                Ok(())
            },
        ),
        Trial::test(
            "notes survive down, power cuts, a restarted KMS, an upgrade and a move; dstack's SDKs have keys and a sealed environment, and seal one; rows of PostgreSQL survive a power cut; an older disk, another file, id or instance gets nothing",
            || {
                let owner = notes::survive();
                strangers::get_nothing(&owner);
                sdk::calls_have_keys(&owner);
                let second = versions::are_upgraded(&owner);
                let kept = power_cuts::lose_nothing_that_was_answered(&owner, second.path());
                versions::move_to_another_host(&owner, second.path(), &kept);
                Ok(())
            },
        ),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}
