//! The program beside the agent that runs what Pads need: the process that serves a supervisor, and
//! the process of a consumer program, which the first one starts.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use pad_runner::consumer::{middleware, process};
use pad_runner::serve;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if arguments == [middleware::ROLE] {
        return process::main();
    }
    if arguments == [serve::ROLE] {
        return serve::main();
    }
    eprintln!("error: pad-runner has the roles {:?} and {:?}", serve::ROLE, middleware::ROLE);
    eprintln!("hint: the agent or `dstyx pad run` starts it; there is nothing to run by hand");
    ExitCode::from(2)
}
