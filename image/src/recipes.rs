//! How each part of the image is made: recipes for the hermetic builder, one module a part.
//!
//! A recipe only says which commands run on which pinned inputs; what the commands see, that they
//! see nothing else, and that twice gives the same bytes is the builder's business. Nothing here
//! runs on the host.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::image::Flavour;
use reproducible_build::builder::{Builder, Built};
use reproducible_build::recipe::{Command, Recipe};
use reproducible_build::source::Tree;

use crate::BuildImageError;

mod apps;
mod file_systems;
mod firmware;
mod initrd;
mod kernel;
mod pads;
mod programs;

pub use apps::{EXAMPLES, GATEWAY, KMS, OwnApp};
pub use pads::{COMPILE, COMPILERS, LINK, LISTED, STRICT};
pub use programs::PAD_RUNNER;

/// The lock group that every recipe of the image runs in.
const ROOT: &str = "build";

/// Makes the recipes of one checkout, for one builder.
#[derive(Clone, Copy)]
pub struct Recipes<'a> {
    builder: &'a Builder,
    checkout: &'a Path,
}

/// What `rebuild --only` can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Both flavours' kernels.
    Kernel,
    /// The firmware of both flavours.
    Firmware,
    /// The programs, the empty file systems and both flavours' initramfs.
    Initrd,
    /// The examples' images.
    Examples,
    /// The image of the key management service.
    Kms,
    /// The image of the gateway.
    Gateway,
    /// The sandbox of Pads, and programs for it.
    Pads,
}

impl Target {
    /// In the order of their building times, the shortest first.
    pub const ALL: [Self; 7] = [
        Self::Examples,
        Self::Gateway,
        Self::Kms,
        Self::Pads,
        Self::Initrd,
        Self::Firmware,
        Self::Kernel,
    ];

    /// As the command line spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Firmware => "firmware",
            Self::Initrd => "initrd",
            Self::Examples => "examples",
            Self::Kms => "kms",
            Self::Gateway => "gateway",
            Self::Pads => "pads",
        }
    }
}

impl<'a> Recipes<'a> {
    /// For the sources in `checkout`, the top directory of the workspace.
    #[must_use]
    pub fn new(builder: &'a Builder, checkout: &'a Path) -> Self {
        Self { builder, checkout }
    }

    /// The recipes of a target, to be built twice and compared. The initramfs is made of what the
    /// recipes of its parts built first, so that target builds the parts to name its recipes.
    ///
    /// # Errors
    /// If an input is missing, or the programs do not build.
    pub fn of_target(&self, target: Target) -> Result<Vec<Arc<Recipe>>, BuildImageError> {
        Ok(match target {
            Target::Kernel => vec![self.kernel(Flavour::Release)?, self.kernel(Flavour::Dev)?],
            Target::Firmware => vec![self.firmware()?],
            Target::Initrd => {
                let (release, dev) = (self.initrd(Flavour::Release)?, self.initrd(Flavour::Dev)?);
                vec![self.file_systems()?, self.programs()?, self.pad_runner()?, release, dev]
            }
            Target::Examples => {
                EXAMPLES.iter().map(|app| self.app(app)).collect::<Result<_, _>>()?
            }
            Target::Kms => vec![self.app(&KMS)?],
            Target::Gateway => vec![self.app(&GATEWAY)?],
            Target::Pads => vec![self.pads()?, self.listed()?, self.pad_runner()?],
        })
    }

    /// Directories and files of the checkout below `base`, at the same places relative to it.
    fn tree(&self, base: &str, paths: &[&str]) -> Result<Tree, BuildImageError> {
        Ok(Tree::of_checkout(self.builder.cache(), &self.checkout.join(base), paths)?)
    }

    fn build(&self, recipe: &Recipe) -> Result<Built, BuildImageError> {
        Ok(self.builder.build(recipe)?)
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.checkout.join(relative)
    }
}

/// Shell for what needs pipes or globs; the first failure ends it, in a pipe too.
fn bash(script: &str) -> Command {
    Command::new(["bash", "-euo", "pipefail", "-c", script])
}
