//! The initramfs: the manifest filled with what was built, written by [`crate::newc`], compressed
//! by the locked zstd.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use fs_err as fs;
use protocol::image::Flavour;
use reproducible_build::recipe::{Command, Input, Recipe};
use reproducible_build::source::Tree;

use super::{ROOT, Recipes, programs};
use crate::initrd::Contents;
use crate::{BuildImageError, initrd, manifest, newc, notices};

/// The emulator's root, checked in where it is published.
const EMULATED_ROOT: &str = "tdx-emulator/root/danger-emulated-root.der";

impl Recipes<'_> {
    /// Leaves `initrd`. The programs are built to make the archive.
    ///
    /// # Errors
    /// If the programs do not build, or the manifest and the files do not agree.
    pub fn initrd(&self, flavour: Flavour) -> Result<Arc<Recipe>, BuildImageError> {
        let tree = initrd::tree(flavour, self.contents(flavour)?)?;
        let mtime =
            u32::try_from(self.builder.lock().epoch_secs()).expect("the lock is not from 2106");
        let archive = newc::write(&tree, mtime).map_err(initrd::InitrdError::from)?;
        let files = BTreeMap::from([("initrd.cpio".to_owned(), archive)]);
        let archive = Tree::of_files(self.builder.cache(), &files)?;
        let name = match flavour {
            Flavour::Release => "initrd-release",
            Flavour::Dev => "initrd-dev",
        };
        // One thread: with more, where the blocks are cut depends on their number.
        let zstd = [
            "zstd",
            "-19",
            "--single-thread",
            "--quiet",
            "{src}/archive/initrd.cpio",
            "-o",
            "{out}/initrd",
        ];
        Ok(Arc::new(Recipe {
            name: name.into(),
            root: ROOT.into(),
            sources: BTreeMap::from([("archive".into(), Input::Tree(archive))]),
            base: None,
            steps: vec![Command::new(zstd)],
            env: BTreeMap::new(),
            keep_work: false,
            outputs: vec!["initrd".into()],
        }))
    }

    fn contents(&self, flavour: Flavour) -> Result<Contents, BuildImageError> {
        let programs = self.build(&*self.programs()?)?.path;
        let runner = self.build(&*self.pad_runner()?)?.path;
        let file_systems = self.build(&*self.file_systems()?)?.path;
        let certificates = self.build(&self.ca_certificates())?.path;
        let read = |directory: &Path, file: &str| fs::read(directory.join(file));
        let mut crates = fs::read_to_string(programs.join(programs::CRATES))?;
        crates.push_str(&fs::read_to_string(runner.join(programs::CRATES))?);
        let crates = notices::crates(&crates)?;
        let mut contents = Contents::from([
            (manifest::INIT, read(&programs, "init")?),
            (manifest::GUEST_AGENT, read(&programs, "guest-agent")?),
            (manifest::CONTAINER_HELPER, read(&programs, "container-helper")?),
            (manifest::PAD_RUNNER, read(&runner, programs::PACKED_PAD_RUNNER)?),
            (manifest::CA_CERTIFICATES, read(&certificates, "ca-certificates.crt")?),
            (manifest::BTRFS_TEMPLATE, self.template(&file_systems, "btrfs")?),
            (manifest::EXT4_TEMPLATE, self.template(&file_systems, "ext4")?),
            (manifest::BUILD_DATE, format!("{}\n", self.builder.lock().epoch_secs()).into_bytes()),
            (manifest::LICENCE, fs::read(self.path("LICENSE"))?),
            (manifest::NOTICES, notices::NOTICES.into()),
            (manifest::CRATES, crates.into_bytes()),
        ]);
        if flavour == Flavour::Dev {
            contents.insert(manifest::EMULATED_ROOT, fs::read(self.path(EMULATED_ROOT))?);
        }
        Ok(contents)
    }
}
