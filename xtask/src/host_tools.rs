//! The C++ compiler that libFuzzer is built with: the host's, or the hermetic builder's where the
//! host has none.
//!
//! The builder's compiler runs by the dynamic loader and with the libraries of its own root, and so
//! does what it links.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::command;

/// The group of inputs.lock that has the compiler.
const GROUP: &str = "build";
/// Its program, and the program that links what it compiled.
const COMPILER: &str = "usr/bin/x86_64-linux-gnu-g++-14";
const LINKER: &str = "usr/bin/x86_64-linux-gnu-ld";

/// A C++ compiler.
#[derive(Debug, Default)]
pub struct Cxx {
    /// Environment in which cargo uses it.
    pub env: Vec<(&'static str, PathBuf)>,
    /// Program and first arguments that start what it linked; empty for the host's own.
    pub starter: Vec<OsString>,
}

impl Cxx {
    /// The host's compiler, or else the builder's, with scripts in `target_dir` that start it.
    pub fn find(target_dir: &Path) -> Result<Self, String> {
        if is_there("c++") { Ok(Self::default()) } else { Self::of_builder(target_dir) }
    }

    /// The compiler of the builder's root, which is unpacked if it is not in the cache.
    fn of_builder(target_dir: &Path) -> Result<Self, String> {
        let mut builder = Command::new(target_dir.join("debug/examples/builder"));
        let printed = command::capture(builder.args(["root", GROUP]))?.stdout;
        let root = PathBuf::from(String::from_utf8_lossy(&printed).trim_end());
        let (loader, libraries) =
            (root.join("usr/lib64/ld-linux-x86-64.so.2"), root.join("usr/lib/x86_64-linux-gnu"));
        let scripts = target_dir.join("host-tools");
        let by_loader =
            format!("exec '{}' --library-path '{}'", loader.display(), libraries.display());
        let ld = format!("#!/bin/sh\n{by_loader} '{}' \"$@\"\n", root.join(LINKER).display());
        let cxx = format!(
            "#!/bin/sh\n{by_loader} '{compiler}' -wrapper '{loader},--library-path,{libraries}' \
             -B'{scripts}' -B'{programs}' --sysroot='{root}' \"$@\"\n",
            compiler = root.join(COMPILER).display(),
            loader = loader.display(),
            libraries = libraries.display(),
            scripts = scripts.display(),
            programs = root.join("usr/bin").display(),
            root = root.display(),
        );
        let compiler = script(&scripts, "c++", &cxx)?;
        script(&scripts, "ld", &ld)?;
        Ok(Self {
            env: vec![
                ("CXX", compiler.clone()),
                ("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER", compiler),
            ],
            starter: vec![loader.into(), "--library-path".into(), libraries.into()],
        })
    }
}

fn is_there(program: &str) -> bool {
    let mut probe = Command::new(program);
    probe.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

fn script(directory: &Path, name: &str, text: &str) -> Result<PathBuf, String> {
    let path = directory.join(name);
    let written = fs::create_dir_all(directory)
        .and_then(|()| fs::write(&path, text))
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)));
    written.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}
