//! Part of the tests once more as an ordinary user, where all others run as root: so that what
//! works for root alone is noticed.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::{command, namespace};

/// Who that is: nobody, by Linux's convention.
const USER: u32 = 65534;
/// Directories of packages whose tests need nothing but their program: the checkout may lie where
/// only root may look.
const PACKAGES: [(&str, &str); 2] =
    [("containers/app", "containers"), ("containers/images", "container-images")];

/// A test program, and the package that it is of.
#[derive(Debug, PartialEq, Eq)]
struct Program {
    package: &'static str,
    path: PathBuf,
}

/// Commands that run the tests of those packages as nobody, each in a directory of its own that is
/// left behind in `scratch`. `built` is what `cargo test --no-run --message-format=json` printed,
/// `this` the file of this program.
pub fn commands(built: &str, this: &Path, scratch: &Path) -> Result<Vec<Command>, String> {
    let programs = programs(built);
    if programs.len() < PACKAGES.len() {
        return Err(format!("cargo built only {programs:?} of {PACKAGES:?}"));
    }
    fs::set_permissions(scratch, fs::Permissions::from_mode(0o755))
        .map_err(|error| format!("{}: {error}", scratch.display()))?;
    let door = copied(this, scratch, "door")?;
    let prepared = programs.iter().enumerate().map(|(index, program)| {
        let copy = copied(&program.path, scratch, &format!("tests-{index}"))?;
        let home = scratch.join(format!("home-{index}"));
        fs::create_dir(&home)
            .and_then(|()| chown(&home, Some(USER), Some(USER)))
            .map_err(|error| format!("{}: {error}", home.display()))?;
        let mut command = Command::new(&door);
        command.arg(namespace::ARGUMENT).arg(copy).uid(USER).gid(USER).current_dir(&home);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", &home).env("TMPDIR", &home).env(namespace::PACKAGE, program.package);
        Ok(command)
    });
    prepared.collect()
}

/// A copy that everybody may run.
fn copied(program: &Path, scratch: &Path, name: &str) -> Result<PathBuf, String> {
    let copy = scratch.join(name);
    fs::copy(program, &copy)
        .and_then(|_| fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)))
        .map_err(|error| format!("copy {} to {}: {error}", program.display(), copy.display()))?;
    Ok(copy)
}

/// The test programs of our packages among cargo's messages.
fn programs(built: &str) -> Vec<Program> {
    let messages = built.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let program = |message: Value| {
        let (manifest, path) =
            (message["manifest_path"].as_str()?, message["executable"].as_str()?);
        let directory = Path::new(manifest).parent()?.strip_prefix(command::root()).ok()?;
        let (_, package) = PACKAGES.into_iter().find(|(known, _)| directory == Path::new(known))?;
        let is_test = message["profile"]["test"] == true;
        is_test.then(|| Program { package, path: path.into() })
    };
    messages.filter_map(program).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_test_programs_of_the_named_packages_run() {
        let root = command::root();
        let line = |directory: &str, test: bool, executable: &str| {
            let manifest = root.join(directory).join("Cargo.toml");
            format!(
                r#"{{"manifest_path":{manifest:?},"profile":{{"test":{test}}},"executable":{executable}}}"#
            )
        };
        let built = [
            "not a message".to_owned(),
            line("containers/app", true, "\"/t/containers-1\""),
            line("containers/app", true, "null"),
            line("containers/images", false, "\"/t/images\""),
            line("cli", true, "\"/t/cli\""),
            line("containers/images", true, "\"/t/promises-2\""),
        ];
        let expected = [("containers", "/t/containers-1"), ("container-images", "/t/promises-2")]
            .map(|(package, path)| Program { package, path: path.into() });
        assert_eq!(programs(&built.join("\n")), expected);
    }
}
