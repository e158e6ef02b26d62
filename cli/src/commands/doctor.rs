//! `dstyx doctor`: which steps from a bare server to a TDX host are still missing.

use std::process::ExitCode;

use serde_json::json;

use crate::doctor::{self, facts};
use crate::failure::Outcome;
use crate::output::Output;

/// Exit status 0 only if every check passes.
pub fn run(output: &Output) -> Outcome<ExitCode> {
    let checks = doctor::evaluate(&facts::collect());
    let pass = checks.iter().all(|check| check.pass);
    output.result(&json!({ "pass": pass, "checks": checks }), || doctor::table(&checks));
    Ok(if pass { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
