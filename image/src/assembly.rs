//! Assembly: firmware, kernel and initramfs into one directory, described by image.json.

use std::path::{Path, PathBuf};

use fs_err as fs;
use measurement::{FirmwareLayout, ImageFacts, ImageFiles};
use protocol::digest::{OsImageHash, Sha256Digest};
use protocol::image::{self, Artefact, Flavour, ImageManifest, MachineFacts, PadEngines};
use reproducible_build::builder::{BuildError, Builder};
use reproducible_build::cache::Kind;
use reproducible_build::lock::Lock;
use reproducible_build::qemu;

use crate::manifest::{self, FIRMWARE_CEILING_BYTES, KERNEL_CEILING_BYTES, TOTAL_CEILING_BYTES};
use crate::recipes::Recipes;
use crate::{BuildImageError, cmdline, pads};

/// Host bridge, network, launch disk, status disk and data disk: every launch has these.
const ROOT_SLOTS: u32 = 5;
/// Name of the lock under which images are written.
const WRITTEN: &str = "image";

/// An image on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltImage {
    /// Directory of `firmware.fd`, `kernel`, `initrd` and `image.json`.
    pub directory: PathBuf,
    /// What image.json says.
    pub manifest: ImageManifest,
    /// Names the image.
    pub os_image_hash: OsImageHash,
}

/// Where the image of a flavour is, once it is built.
#[must_use]
pub fn directory(checkout: &Path, flavour: Flavour) -> PathBuf {
    let name = match flavour {
        Flavour::Release => "release",
        Flavour::Dev => "dev",
    };
    checkout.join("target/image").join(name)
}

/// Builds the image of a flavour from the sources in `checkout` into [`directory`]; what is cached
/// is not built again.
///
/// # Errors
/// If an input is missing, a step fails, the kernel's configuration is not the requested one, or a
/// ceiling is exceeded.
pub fn build(
    builder: &Builder,
    checkout: &Path,
    flavour: Flavour,
) -> Result<BuiltImage, BuildImageError> {
    let recipes = Recipes::new(builder, checkout);
    // The shortest first, so that an error in a program shows before the kernel is built.
    let initrd = builder.build(&*recipes.initrd(flavour)?)?.path.join("initrd");
    let firmware = builder.build(&*recipes.firmware()?)?.path.join("firmware.fd");
    let kernel = builder.build(&*recipes.kernel(flavour)?)?.path.join("kernel");
    let parts = Parts {
        firmware: fs::read(firmware)?,
        kernel: fs::read(kernel)?,
        initrd: fs::read(initrd)?,
    };
    parts.check_sizes()?;
    let engines = pads::engines(builder, checkout)?;
    let manifest = parts.describe(builder.lock(), flavour, engines)?;
    let directory = directory(checkout, flavour);
    // Two launches at the same time may both find that it is missing.
    let _guard = builder.cache().lock(Kind::Builds, WRITTEN).map_err(BuildError::from)?;
    parts.write(&directory, &manifest)?;
    Ok(BuiltImage { directory, os_image_hash: manifest.os_image_hash(), manifest })
}

struct Parts {
    firmware: Vec<u8>,
    kernel: Vec<u8>,
    initrd: Vec<u8>,
}

impl Parts {
    fn check_sizes(&self) -> Result<(), manifest::CeilingError> {
        let (kernel, initrd) = (self.kernel.len() as u64, self.initrd.len() as u64);
        manifest::check_size("firmware.fd", self.firmware.len() as u64, FIRMWARE_CEILING_BYTES)?;
        manifest::check_size("kernel", kernel, KERNEL_CEILING_BYTES)?;
        manifest::check_size("kernel and initrd together", kernel + initrd, TOTAL_CEILING_BYTES)
    }

    fn describe(
        &self,
        lock: &Lock,
        flavour: Flavour,
        pad_engines: PadEngines,
    ) -> Result<ImageManifest, BuildImageError> {
        let cmdline = cmdline::line(flavour);
        let Self { firmware, kernel, initrd } = self;
        let layout = Some(FirmwareLayout::Edk2_2025_02); // of the pinned source, whose boots prove it
        let files = ImageFiles { firmware, layout, kernel, initrd, cmdline: &cmdline };
        let facts = ImageFacts::from_files(&files)?;
        let serial_ports = match flavour {
            Flavour::Release => 1,
            // The console and the emulated TDX device.
            Flavour::Dev => 2,
        };
        Ok(ImageManifest {
            version: image::VERSION,
            dstyx_version: env!("CARGO_PKG_VERSION").into(),
            flavour,
            source_date_epoch: lock.epoch_secs(),
            firmware: artefact("firmware.fd", firmware),
            kernel: artefact("kernel", kernel),
            initrd: artefact("initrd", initrd),
            reference: facts.reference(),
            firmware_facts: facts.firmware,
            kernel_facts: facts.kernel,
            machine: MachineFacts {
                qemu_version: qemu::locked_version(lock)?,
                serial_ports,
                root_slots: ROOT_SLOTS,
            },
            reserved_report_data: Some(image::RESERVED_REPORT_DATA),
            pad_engines: Some(pad_engines),
            cmdline,
        })
    }

    /// The directory appears whole: a launch never reads half of an old image and half of a new
    /// one. One that has the image is left alone, for launches that begin at this moment.
    fn write(&self, directory: &Path, manifest: &ImageManifest) -> std::io::Result<()> {
        let json = manifest.to_json();
        let files: [(&str, &[u8]); 4] = [
            (&manifest.firmware.file, &self.firmware),
            (&manifest.kernel.file, &self.kernel),
            (&manifest.initrd.file, &self.initrd),
            ("image.json", &json),
        ];
        let has = |(name, bytes): &(&str, &[u8])| {
            fs::read(directory.join(name)).is_ok_and(|found| found == *bytes)
        };
        if files.iter().all(has) {
            return Ok(());
        }
        let new = directory.with_extension("new");
        if new.exists() {
            fs::remove_dir_all(&new)?;
        }
        fs::create_dir_all(&new)?;
        for (name, bytes) in files {
            fs::write(new.join(name), bytes)?;
        }
        if directory.exists() {
            fs::remove_dir_all(directory)?;
        }
        fs::rename(new, directory)
    }
}

fn artefact(file: &str, bytes: &[u8]) -> Artefact {
    Artefact { file: file.into(), size: bytes.len() as u64, sha256: Sha256Digest::of(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_kernel_and_initrd_has_a_ceiling() {
        let sized = |kernel, initrd| Parts {
            firmware: vec![],
            kernel: vec![0; kernel],
            initrd: vec![0; initrd],
        };
        assert_eq!(sized(6_000_000, 24_000_000).check_sizes(), Ok(()));
        let refused = sized(6_000_000, 24_000_001).check_sizes().unwrap_err();
        assert_eq!(refused.file, "kernel and initrd together");
        assert_eq!((refused.bytes, refused.ceiling_bytes), (30_000_001, TOTAL_CEILING_BYTES));
        assert_eq!(sized(8_000_001, 0).check_sizes().unwrap_err().file, "kernel");
    }
}
