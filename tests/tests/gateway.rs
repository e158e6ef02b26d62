//! Promises of a gateway that need a booted guest: it dials, and clients reach its app.
//!
//! A harness of its own, because guests are booted. In the first promise KMS and gateway are
//! processes of the host with the product's own code, whose quotes are the emulator's; in the
//! second one everything is booted.

#![allow(clippy::unwrap_used)] // the helpers of a test are tests too

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

#[path = "gateway/dials.rs"]
mod dials;
#[path = "gateway/kms.rs"]
mod kms;
#[path = "../support/loopback_kms.rs"]
mod loopback_kms;
#[path = "gateway/machines.rs"]
mod machines;
#[path = "kms/policy.rs"]
mod policy;
#[path = "gateway/running.rs"]
mod running;
#[path = "gateway/strangers.rs"]
mod strangers;

fn main() -> ExitCode {
    if let Some(code) = reproducible_build::sandbox::run_if_child() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let name = "a guest dials the gateway that its KMS names, and a client reaches its app there";
    let dials = Trial::test(name, || {
        dials::a_client_reaches_a_booted_guest();
        Ok(())
    });
    let name = "strangers reach an app in two guests through two gateways, of which one and a guest \
                are killed";
    let reach = Trial::test(name, || {
        strangers::reach_apps_through_two_gateways();
        Ok(())
    });
    libtest_mimic::run(&arguments, vec![dials, reach]).exit_code()
}
