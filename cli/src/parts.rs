//! What a launch takes beside the app: image, QEMU, emulator.
//!
//! A checkout builds and pins them. Outside one, a built image is named by a person, QEMU is one of
//! the version that the image's facts are for, and the emulator stands beside this program.

use std::path::{Path, PathBuf};

use image::apps::{GATEWAY, KMS};
use protocol::digest::OsImageHash;
use protocol::image::ImageManifest;
use reproducible_build::qemu::{Qemu, QemuError};

use crate::app::App;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::image_archive;
use crate::platform::Choice;
use crate::{build, files, paths};

/// The name of QEMU's program on a PATH.
const QEMU: &str = "qemu-system-x86_64";

/// Everything that is there, or was built.
#[derive(Debug)]
pub struct Parts {
    /// Directory of the image, absolute.
    pub image: PathBuf,
    /// Its image.json.
    pub manifest: ImageManifest,
    /// Hash of its image.json.
    pub os_image_hash: OsImageHash,
    /// QEMU of the right version.
    pub qemu: Qemu,
    /// Program of the emulator's host service, if the guest is emulated.
    pub emulator: Option<PathBuf>,
    /// OCI layouts to serve to the guest.
    pub layouts: Vec<PathBuf>,
}

/// What takes the place of the checkout's own image and QEMU.
#[derive(Debug, Clone, Copy)]
pub struct Overrides<'a> {
    /// Directory of an image.
    pub image: Option<&'a Path>,
    /// Program of a QEMU.
    pub qemu: Option<&'a Path>,
}

/// Which container images are built to be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Images {
    /// Those of an app that is one of the checkout's examples.
    App,
    /// The KMS's.
    Kms,
    /// The gateway's.
    Gateway,
}

impl Parts {
    /// Builds or finds them.
    pub fn of(
        overrides: Overrides<'_>,
        choice: Choice,
        app: &App,
        images: Images,
    ) -> Outcome<Self> {
        let own = app.directory.join(image_archive::DIRECTORY);
        let layouts: Vec<PathBuf> = own.is_dir().then_some(own).into_iter().collect();
        match (overrides.image, paths::checkout()) {
            (Some(image), Err(_)) => Self::named(image, overrides.qemu, choice, layouts),
            (None, Err(failure)) => {
                Err(Failure::new(failure, "run it inside one, or give --image with a built image"))
            }
            (_, Ok(_)) => Self::built(overrides, choice, app, images, layouts),
        }
    }

    fn built(
        overrides: Overrides<'_>,
        choice: Choice,
        app: &App,
        images: Images,
        mut layouts: Vec<PathBuf>,
    ) -> Outcome<Self> {
        let builder = build::open()?;
        let image = match overrides.image {
            Some(image) => absolute(image)?,
            None => build::image(&builder, choice.flavour())?.directory,
        };
        let (manifest, os_image_hash) = files::read_manifest(&image)?;
        layouts.extend(match images {
            Images::App => build::local_images(&builder, app)?,
            Images::Kms => build::own_images(&builder, KMS)?,
            Images::Gateway => build::own_images(&builder, GATEWAY)?,
        });
        let qemu = build::qemu(&builder, overrides.qemu)?;
        let emulator = (choice == Choice::Emulated).then(build::emulator).transpose()?;
        Ok(Self { image, manifest, os_image_hash, qemu, emulator, layouts })
    }

    /// Without a checkout: nothing is built.
    fn named(
        image: &Path,
        program: Option<&Path>,
        choice: Choice,
        layouts: Vec<PathBuf>,
    ) -> Outcome<Self> {
        let image = absolute(image)?;
        let (manifest, os_image_hash) = files::read_manifest(&image)?;
        let qemu = qemu(program, &manifest.machine.qemu_version)?;
        let emulator = (choice == Choice::Emulated).then(emulator).transpose()?;
        Ok(Self { image, manifest, os_image_hash, qemu, emulator, layouts })
    }
}

/// Later commands find the image from wherever they are started.
fn absolute(image: &Path) -> Outcome<PathBuf> {
    image.canonicalize().hint(image.display(), "--image names the directory of a built image")
}

/// The QEMU that a person named, or the one on the PATH, of version `version`.
fn qemu(named: Option<&Path>, version: &str) -> Outcome<Qemu> {
    let hint = format!(
        "name QEMU {version} with --qemu or have it on the PATH as {QEMU}; inside a dstyx checkout the locked one is used"
    );
    Qemu::of_version(named.unwrap_or(Path::new(QEMU)), version).map_err(|error| {
        let what = match (&error, named) {
            (QemuError::Start(..), None) => format!("there is no {QEMU} on the PATH"),
            _ => protocol::error::chain(&error),
        };
        Failure::new(what, hint)
    })
}

/// The emulator's program beside this one.
fn emulator() -> Outcome<PathBuf> {
    let this =
        std::env::current_exe().hint("finding this program", "was it removed while it ran?")?;
    let program = this.with_file_name("tdx-emulator");
    if program.is_file() {
        return Ok(program);
    }
    Err(Failure::new(
        format!("{}: there is no TDX emulator", program.display()),
        "build it in a dstyx checkout, `cargo build --package tdx-emulator`, and put it beside dstyx",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qemu_of_another_version_is_named_with_the_one_that_is_needed() {
        let failure = qemu(Some(Path::new("/nonexistent/qemu")), "1.2.3").unwrap_err();
        assert!(failure.to_string().contains("/nonexistent/qemu cannot be started"), "{failure}");
        let failure = qemu(Some(Path::new("/bin/true")), "1.2.3").unwrap_err();
        assert!(failure.to_string().contains("only 1.2.3 is known"), "{failure}");
        assert!(failure.hint.contains("name QEMU 1.2.3 with --qemu"), "{}", failure.hint);
    }
}
