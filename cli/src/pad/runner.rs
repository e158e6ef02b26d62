//! The program `pad-runner`: the one that is named, the one beside this program, or the one that a
//! checkout builds.

use std::path::{Path, PathBuf};
use std::process::Command;

use pad_supervisor::{Place, Settings, Supervisor};

use crate::failure::{Failure, Hint as _, Outcome};
use crate::output::note;
use crate::paths;

/// Its workspace in a checkout.
const WORKSPACE: &str = "pads/runner";
/// What to do about a conversation with it that fails.
pub const FAILED: &str = "is it the pad-runner of this version of dstyx?";
/// Its name.
const PROGRAM: &str = "pad-runner";

/// Starts the program on this machine, and tells from what its processes are not cut off here.
///
/// # Errors
/// If it is not found, or does not begin.
pub fn start(named: Option<&Path>) -> Outcome<Supervisor> {
    let program = find(named)?;
    let settings = Settings { runner: &program, cache: None, place: Place::Local };
    let supervisor = Supervisor::start(settings).hint(program.display(), FAILED)?;
    for missing in supervisor.missing() {
        note(&format!("on this machine no program gets {missing}"));
    }
    Ok(supervisor)
}

/// Where the program is.
///
/// # Errors
/// If it is named and not there, or there is none and it does not build.
fn find(named: Option<&Path>) -> Outcome<PathBuf> {
    if let Some(program) = named {
        return program.canonicalize().hint(program.display(), "--runner names the program");
    }
    let this =
        std::env::current_exe().hint("finding this program", "was it removed while it ran?")?;
    let beside = this.with_file_name(PROGRAM);
    if beside.is_file() {
        return Ok(beside);
    }
    let checkout = paths::checkout().map_err(|failure| {
        let what = format!("{}: there is no {PROGRAM}, and {failure}", beside.display());
        Failure::new(what, "name it with --runner, or run this inside a checkout of dstyx")
    })?;
    built(&checkout, &this)
}

/// Builds it as the checkout's own tests do, in the directory of this program's build.
fn built(checkout: &Path, this: &Path) -> Outcome<PathBuf> {
    let own = this.parent().and_then(Path::parent).filter(|target| target.ends_with("target"));
    let target = own.map_or_else(|| checkout.join("target"), Path::to_path_buf).join("pads");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--release", "--locked"]).current_dir(checkout.join(WORKSPACE));
    let status = cargo.env("CARGO_TARGET_DIR", &target).status();
    let status = status.hint("building pad-runner", "is cargo on the PATH?")?;
    let program = target.join("release").join(PROGRAM);
    if status.success() && program.is_file() {
        return Ok(program);
    }
    Err(Failure::new("pad-runner does not build", "see the compiler's words above"))
}
