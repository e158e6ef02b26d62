//! What images hold beside Debian's packages: modules from package registries, by their ordinary
//! clients, and byte code.
//!
//! Versions and digests stand in files of `tests/vectors/sdk/`. pip is one of tests.lock, npm the
//! host's; both have the host's configuration.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab;

/// Debian's version of Python, which wheels must be for.
const PYTHON: &str = "3.13";
/// What its C library can load.
const PLATFORMS: [&str; 4] = [
    "manylinux_2_34_x86_64",
    "manylinux_2_28_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux2014_x86_64",
];

/// A file of the pins.
pub fn pins(name: &str) -> PathBuf {
    lab::checkout().join("tests/vectors/sdk").join(name)
}

/// Puts the Python modules of `requirements.txt` into `directory`; `python` is the root of the
/// interpreter that pip runs by.
pub fn python_modules(python: &Path, directory: &Path) {
    let mut pip = lab::tool(python, &format!("usr/bin/python{PYTHON}"));
    let modules = lab::tools("pip").join("usr/lib/python3/dist-packages");
    pip.env("PYTHONHOME", python.join("usr")).env("PYTHONPATH", modules);
    pip.args(["-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps", "--no-compile"]);
    pip.args(["--only-binary=:all:", "--implementation=cp", "--python-version", PYTHON]);
    pip.args(PLATFORMS.iter().flat_map(|platform| ["--platform", platform]));
    pip.arg("--target").arg(directory).arg("--requirement").arg(pins("requirements.txt"));
    run(&mut pip, "pip");
}

/// Puts the JavaScript modules of `package-lock.json` into `directory/node_modules`.
pub fn javascript_modules(directory: &Path) {
    for name in ["package.json", "package-lock.json"] {
        fs::copy(pins(name), directory.join(name)).unwrap();
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--silent", "--ignore-scripts", "--legacy-peer-deps"]).current_dir(directory);
    run(&mut npm, "npm");
}

/// Compiles the Python modules below `directory`, which will be at `at`; the byte code comes below
/// `to`, in the order of `PYTHONPYCACHEPREFIX`, and is believed without a look at the source: under
/// emulation both cost seconds.
pub fn byte_code(python: &Path, directory: &Path, at: &str, to: &Path) {
    let caches = tempfile::tempdir_in(to.parent().unwrap()).unwrap();
    let mut command = lab::tool(python, &format!("usr/bin/python{PYTHON}"));
    command.env("PYTHONHOME", python.join("usr")).env("PYTHONPYCACHEPREFIX", caches.path());
    command.args(["-m", "compileall", "-qq", "--invalidation-mode=unchecked-hash"]);
    command.arg("-s").arg(directory).args(["-p", at]).arg(directory);
    // Some modules are meant not to compile; what is missing is compiled when it is imported.
    command.status().unwrap();
    let made = caches.path().join(directory.strip_prefix("/").unwrap());
    let target = to.join(at.trim_start_matches('/'));
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    fs::rename(made, target).unwrap();
}

fn run(command: &mut Command, name: &str) {
    let output =
        command.output().unwrap_or_else(|error| panic!("{name} is needed on the PATH: {error}"));
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}
