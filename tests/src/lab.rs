//! What the tests work with: the programs built beside them, the images built before them, the
//! locked tools.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use image::newc::Node;
use protocol::image::{Flavour, ImageManifest};
use reproducible_build::builder::Builder;
use reproducible_build::lock::{INPUTS, LockFile, TESTS};
use reproducible_build::qemu::Qemu;
use reproducible_build::root::Root;
use reproducible_build::{program, progress};

/// Environment variable that asks for every row and every boot.
const LONG: &str = "DSTYX_LONG";

/// Root of the checkout.
pub fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Directory of a built image.
pub fn image(flavour: Flavour) -> PathBuf {
    present(image::directory(checkout(), flavour))
}

/// What an image says of itself.
pub fn manifest(image: &Path) -> ImageManifest {
    ImageManifest::parse(&fs::read(image.join("image.json")).unwrap()).unwrap()
}

/// A program of the workspace: `dstyx` or `tdx-emulator`. Benchmarks are built elsewhere than
/// programs.
pub fn program(name: &str) -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let beside = this.ancestors().nth(2).unwrap().join(name);
    if beside.exists() {
        beside
    } else {
        present(this.ancestors().nth(3).unwrap().join("debug").join(name))
    }
}

/// A program of a guest's image, taken out of it into `directory`: optimised and linked as it is
/// released.
pub fn guest_program(image: &Path, name: &str, directory: &Path) -> PathBuf {
    let tree = image::initrd::list(&fs::read(image.join("initrd")).unwrap()).unwrap();
    let Some(Node::File { mode, data }) = tree.get(&format!("bin/{name}")) else {
        panic!("no program {name}")
    };
    let program = directory.join(name);
    fs::write(&program, data).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(*mode)).unwrap();
    program
}

/// The builder of the checkout, which finds in its cache what was built before.
pub fn builder() -> &'static Builder {
    static BUILDER: OnceLock<Builder> = OnceLock::new();
    BUILDER.get_or_init(|| open(INPUTS))
}

/// The QEMU that images are built for.
pub fn qemu() -> &'static Qemu {
    static QEMU: OnceLock<Qemu> = OnceLock::new();
    QEMU.get_or_init(|| Qemu::locked(builder()).unwrap())
}

/// A program in `directory` that starts that QEMU with changed arguments, for `up --qemu`. `change`
/// is shell that may set `$argument`, once for each argument; `$before` is the one before it.
pub fn changed_qemu(directory: &Path, change: &str) -> PathBuf {
    let Qemu { argv, env, .. } = qemu();
    let quoted = |text: &OsStr| format!("'{}'", text.to_str().unwrap());
    let argv: Vec<_> = argv.iter().map(|argument| quoted(argument)).collect();
    let exports: String = env
        .iter()
        .map(|(name, value)| format!("export {}={}\n", name.to_str().unwrap(), quoted(value)))
        .collect();
    let script = format!(
        "#!/bin/sh\nfor argument; do\n  shift\n  {change}\n  before=$argument\n  \
         set -- \"$@\" \"$argument\"\ndone\n{exports}exec {} \"$@\"\n",
        argv.join(" ")
    );
    let file = directory.join("qemu-system-x86_64");
    fs::write(&file, script).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
    file
}

/// A second QEMU that has TDX: trixie's own.
pub fn qemu_10() -> &'static Qemu {
    static QEMU: OnceLock<Qemu> = OnceLock::new();
    QEMU.get_or_init(|| Qemu::of_group(test_tools(), "qemu-10").unwrap())
}

/// The root of one group of tests.lock, unpacked.
pub fn tools(group: &str) -> PathBuf {
    test_tools().root(group).unwrap().path
}

/// What identifies the root of one group of tests.lock, unpacked or not.
pub fn group_digest(group: &str) -> String {
    Root::digest_in(test_tools().lock(), group).unwrap().to_string()
}

/// Starts a program of such a root, with the root's own libraries.
pub fn tool(root: &Path, program: &str) -> Command {
    let argv = program::argv(root, program);
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]);
    command
}

/// The builder of what only tests start.
fn test_tools() -> &'static Builder {
    static TOOLS: OnceLock<Builder> = OnceLock::new();
    TOOLS.get_or_init(|| open(TESTS))
}

fn open(file: LockFile) -> Builder {
    let lock = checkout().join("reproducible-build").join(file.lock);
    Builder::open(&lock, Arc::new(progress::Silent)).unwrap()
}

/// Whether this run does all that the issues count.
pub fn long() -> bool {
    std::env::var_os(LONG).is_some()
}

fn present(path: PathBuf) -> PathBuf {
    assert!(
        path.exists(),
        "{} is missing: run the tests through `cargo xtask test`",
        path.display()
    );
    path
}
