//! The container helper: one container each, started by the agent. See [`container_helper`].
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    container_helper::main(std::env::args().skip(1))
}
