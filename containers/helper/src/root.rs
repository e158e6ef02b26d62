//! A container's root: the image's layers, shared and unchanged, under a directory of its own.
//!
//! `nodev`: no device node in a layer, or made by the container, can be opened by way of it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_fd, fsmount, fsopen,
};

use super::ids::Ids;
use super::wire::RootRequest;

/// Stacks the layers under the writable directory; the mount is not attached anywhere. Every layer
/// is passed by a descriptor of its own: one option string would not hold the paths of many.
pub(super) fn mount(request: &RootRequest, ids: &Ids) -> Result<OwnedFd, RootError> {
    let layers = Layers::open(&request.layers, |directory| ids.mapped(directory))?;
    for name in ["upper", "work"] {
        // The mode of upper is that of the container's root directory.
        let made =
            fs::DirBuilder::new().mode(0o755).recursive(true).create(request.writable.join(name));
        made.map_err(RootError::system("make the writable directories"))?;
    }
    let writable =
        ids.mapped(&request.writable).map_err(RootError::system("map the writable directory"))?;
    let overlay = layers.stack()?;
    for (key, name) in [("upperdir", "upper"), ("workdir", "work")] {
        set(&overlay, key, below(&writable, Path::new(name))?.as_fd())?;
    }
    ids.as_root(|| create(&overlay)).map_err(RootError::system("become the container's root"))?
}

/// The image's files alone, as they lie on the disk; read-only and not attached anywhere. `empty`
/// is a directory without anything in it.
pub(super) fn mount_image(layers: &[PathBuf], empty: &Path) -> Result<OwnedFd, RootError> {
    let layers = Layers::open(layers, |directory| {
        Ok(openat(CWD, directory, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
    })?;
    let overlay = layers.stack()?;
    // A single layer cannot be stacked without a second one.
    let empty =
        openat(CWD, empty, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(io::Error::from);
    set(
        &overlay,
        "lowerdir+",
        empty.map_err(RootError::system("open an empty directory"))?.as_fd(),
    )?;
    create(&overlay)
}

/// The directory that all layers are in, and their names in it, the lowest first.
struct Layers<'a> {
    directory: OwnedFd,
    names: Vec<&'a Path>,
}

impl<'a> Layers<'a> {
    fn open(
        layers: &'a [PathBuf],
        open: impl Fn(&Path) -> io::Result<OwnedFd>,
    ) -> Result<Self, RootError> {
        let parent = layers.first().and_then(|layer| layer.parent()).ok_or(RootError::Layers)?;
        let name = |layer: &'a PathBuf| {
            layer.strip_prefix(parent).ok().filter(|name| name.components().count() == 1)
        };
        let names = layers.iter().map(name).collect::<Option<_>>().ok_or(RootError::Layers)?;
        let directory = open(parent).map_err(RootError::system("map the layers"))?;
        Ok(Self { directory, names })
    }

    fn stack(&self) -> Result<OwnedFd, RootError> {
        let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(io::Error::from);
        let overlay = overlay.map_err(RootError::system("open"))?;
        for name in self.names.iter().rev() {
            set(&overlay, "lowerdir+", below(&self.directory, name)?.as_fd())?;
        }
        Ok(overlay)
    }
}

fn below(directory: &OwnedFd, name: &Path) -> Result<OwnedFd, RootError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat(directory, name, flags, Mode::empty()).map_err(io::Error::from);
    opened.map_err(RootError::system("open a layer"))
}

fn set(overlay: &OwnedFd, key: &str, directory: BorrowedFd<'_>) -> Result<(), RootError> {
    fsconfig_set_fd(overlay, key, directory)
        .map_err(io::Error::from)
        .map_err(RootError::system("add a directory"))
}

fn create(overlay: &OwnedFd) -> Result<OwnedFd, RootError> {
    fsconfig_create(overlay)
        .map_err(io::Error::from)
        .map_err(RootError::system("stack the layers"))?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV;
    let mounted =
        fsmount(overlay, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(io::Error::from);
    mounted.map_err(RootError::system("mount"))
}

/// Why a container has no root.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// there are none, or they are not side by side
    #[error("the layers are not in one directory")]
    Layers,
    /// the kernel refused
    #[error("overlayfs: {what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Its answer.
        error: io::Error,
    },
}

impl RootError {
    fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System { what, error }
    }
}
