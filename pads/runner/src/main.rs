//! The program beside the agent that runs what Pads need. It has one role so far: the process of a
//! consumer program, which [`pad_runner::consumer::middleware`] starts.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use pad_runner::consumer::{middleware, process};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if arguments == [middleware::ROLE] {
        return process::main();
    }
    eprintln!("error: pad-runner has one role, {:?}", middleware::ROLE);
    eprintln!("hint: the agent starts it; there is nothing to run by hand");
    ExitCode::from(2)
}
