//! The program beside the agent that runs what Pads need: the process that serves a supervisor, and
//! the processes that it starts itself, by [`pad_runner::Runner`].
#![forbid(unsafe_code)]

use std::process::ExitCode;

use pad_runner::{Role, serve};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some((role, is_isolated)) = Role::of(&arguments) {
        return pad_runner::run_role(role, is_isolated);
    }
    if let Some(setting) = serve::setting(&arguments) {
        return serve::main(setting);
    }
    eprintln!("error: pad-runner has the role {:?}, and those of its own processes", serve::ROLE);
    eprintln!("hint: the agent or `dstyx pad run` starts it; there is nothing to run by hand");
    ExitCode::from(2)
}
