//! The container helper: one container each, started by the agent. See [`containers::helper`].
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    containers::helper::main(std::env::args().skip(1))
}
