//! The builder as this program uses it: one lock, one progress display, errors with their hints.

use std::path::{Path, PathBuf};
use std::process::Command;

use image::apps::OwnApp;
use image::{BuildImageError, BuiltImage};
use protocol::error::chain;
use protocol::image::Flavour;
use reproducible_build::builder::{BuildError, Builder};
use reproducible_build::progress;
use reproducible_build::qemu::Qemu;

use crate::app::App;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::paths;

/// What to try when an error has no hint of its own.
const DEFAULT_HINT: &str =
    "the step's log is named above; `dstyx build` tries again from where it stopped";

/// The builder of the checkout around the current directory.
pub fn open() -> Outcome<Builder> {
    let lock = paths::checkout()?.join("reproducible-build/inputs.lock");
    of_builder(Builder::open(&lock, progress::for_stderr()))
}

/// Builds the image of a flavour, or finds it built.
pub fn image(builder: &Builder, flavour: Flavour) -> Outcome<BuiltImage> {
    of_image(image::build(builder, &paths::checkout()?, flavour))
}

/// OCI layouts of an app that is one of the checkout's own.
pub fn local_images(builder: &Builder, app: &App) -> Outcome<Vec<PathBuf>> {
    let checkout = paths::checkout()?;
    match OwnApp::in_directory(&checkout, &app.directory) {
        Some(own) => Ok(vec![of_image(own.build(builder, &checkout))?.layout]),
        None => Ok(Vec::new()),
    }
}

/// OCI layouts with the image of one of the checkout's own apps, which its compose file there
/// names.
pub fn own_images(builder: &Builder, app: OwnApp) -> Outcome<Vec<PathBuf>> {
    Ok(vec![of_image(app.build(builder, &paths::checkout()?))?.layout])
}

/// The locked QEMU, unpacked, or a program that must be of the same version.
pub fn qemu(builder: &Builder, program: Option<&Path>) -> Outcome<Qemu> {
    let qemu = match program {
        Some(program) => Qemu::at(program, builder.lock()),
        None => Qemu::locked(builder),
    };
    qemu.map_err(|error| {
        Failure::new(chain(&error), error.hint().unwrap_or_else(|| DEFAULT_HINT.to_owned()))
    })
}

/// The emulator's program, which stands beside this one and is built from the checkout where it
/// does not.
pub fn emulator() -> Outcome<PathBuf> {
    let this =
        std::env::current_exe().hint("finding this program", "was it removed while it ran?")?;
    let program = this.with_file_name("tdx-emulator");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", "tdx-emulator"]).current_dir(paths::checkout()?);
    let profile = this.parent();
    if profile.is_some_and(|directory| directory.ends_with("release")) {
        cargo.arg("--release");
    }
    if let Some(target) = profile.and_then(|directory| directory.parent()) {
        cargo.env("CARGO_TARGET_DIR", target);
    }
    let status = cargo.status().hint("building the TDX emulator", "is cargo on the PATH?")?;
    if status.success() && program.is_file() {
        return Ok(program);
    }
    Err(Failure::new("the TDX emulator does not build", "see the compiler's words above"))
}

/// An error of the builder with its own hint.
pub fn of_builder<T>(result: Result<T, BuildError>) -> Outcome<T> {
    result.map_err(|error| {
        Failure::new(chain(&error), error.hint().unwrap_or_else(|| DEFAULT_HINT.to_owned()))
    })
}

/// An error of the image's assembly with its own hint.
pub fn of_image<T>(result: Result<T, BuildImageError>) -> Outcome<T> {
    result.map_err(|error| {
        Failure::new(chain(&error), error.hint().unwrap_or_else(|| DEFAULT_HINT.to_owned()))
    })
}
