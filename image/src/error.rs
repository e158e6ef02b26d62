//! Why an image was not built: one enum that carries the error of each part, and its hint.

use std::io;

use measurement::FactsError;
use pad_component::ComponentError;
use protocol::disk_template::TemplateError;
use reproducible_build::builder::BuildError;
use reproducible_build::lock::LockError;
use reproducible_build::qemu::QemuError;
use reproducible_build::rust::RustError;
use reproducible_build::source::TreeError;

use crate::app_compose_file::OtherImage;
use crate::initrd::InitrdError;
use crate::kconfig::KconfigError;
use crate::manifest::CeilingError;
use crate::notices::NoticesError;

/// Why an image or an example was not built.
#[derive(Debug, thiserror::Error)]
pub enum BuildImageError {
    /// a recipe failed
    #[error(transparent)]
    Build(#[from] BuildError),
    /// the recipe of a Rust program cannot be made
    #[error(transparent)]
    Rust(#[from] RustError),
    /// sources of the checkout cannot be taken
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// the lock lacks something
    #[error(transparent)]
    Lock(#[from] LockError),
    /// inputs.lock names no QEMU
    #[error(transparent)]
    Qemu(#[from] QemuError),
    /// the kernel's configuration is not the requested one
    #[error(transparent)]
    Kconfig(#[from] KconfigError),
    /// the initramfs cannot be made
    #[error(transparent)]
    Initrd(#[from] InitrdError),
    /// a file above its ceiling
    #[error(transparent)]
    Ceiling(#[from] CeilingError),
    /// the licence list cannot be made
    #[error(transparent)]
    Notices(#[from] NoticesError),
    /// a file system cannot be a template
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// the artefacts are not what a prediction needs
    #[error("the built artefacts cannot be measured")]
    Facts(#[from] FactsError),
    /// an example's compose file names another image
    #[error(transparent)]
    OtherImage(#[from] OtherImage),
    /// a module is none of a program for the sandbox of Pads
    #[error(transparent)]
    Component(#[from] ComponentError),
    /// a file cannot be read or written
    #[error("a file of the image cannot be read or written")]
    Io(#[from] io::Error),
}

impl BuildImageError {
    /// What to try.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Build(error) => error.hint(),
            Self::Rust(error) => error.hint(),
            Self::Tree(error) => error.hint(),
            Self::Lock(error) => error.hint(),
            Self::Qemu(error) => error.hint(),
            Self::Kconfig(error) => Some(error.hint().into()),
            Self::Component(error) => Some(error.hint()),
            Self::Ceiling(error) | Self::Initrd(InitrdError::Ceiling(error)) => {
                Some(error.hint().into())
            }
            Self::Initrd(_) => {
                Some("image/src/manifest.rs is the one list of what an image holds".into())
            }
            Self::Notices(_) => {
                Some("use another crate, or one of a licence that the project accepts".into())
            }
            Self::Template(_) => Some(
                "the recipe in image/src/recipes/file_systems.rs made something unexpected".into(),
            ),
            Self::Facts(_) => {
                Some("the firmware or kernel recipe made something unexpected; read its log".into())
            }
            Self::OtherImage(error) => Some(error.hint()),
            Self::Io(_) => {
                Some("check the room on the disk and the permissions of the checkout".into())
            }
        }
    }
}
