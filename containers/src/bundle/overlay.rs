//! A container's root: the image's layers, shared and unchanged, under a directory of its own.
//!
//! `nodev`: no device node in a layer, or made by the container, can be opened by way of it.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create, fsconfig_set_string,
    fsmount, fsopen, move_mount, unmount,
};

use super::BundleError;

/// Where in the bundle the root is mounted.
pub(super) const ROOT: &str = "rootfs";

/// A mount that ends with this value.
#[derive(Debug)]
pub(super) struct Mounted(PathBuf);

impl Mounted {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.0, UnmountFlags::DETACH) {
            tracing::warn!(root = %self.0.display(), %error, "unmounting failed");
        }
    }
}

/// Stacks `layers`, the lowest first, under `bundle/upper` at `bundle/rootfs`. Each layer is passed by
/// itself: one option string would not hold the paths of many.
pub(super) fn mount(layers: &[PathBuf], bundle: &Path) -> Result<Mounted, BundleError> {
    let [root, upper, work] = [ROOT, "upper", "work"].map(|name| bundle.join(name));
    for path in [&root, &upper, &work] {
        // The mode of upper is that of the container's root directory.
        fs::DirBuilder::new().mode(0o755).create(path).map_err(BundleError::Io)?;
    }
    let failed = |what| move |error: rustix::io::Errno| BundleError::Overlay { what, error: error.into() };
    let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("open"))?;
    for layer in layers.iter().rev() {
        fsconfig_set_string(&overlay, "lowerdir+", layer).map_err(failed("add a layer"))?;
    }
    fsconfig_set_string(&overlay, "upperdir", &upper).map_err(failed("set the upper directory"))?;
    fsconfig_set_string(&overlay, "workdir", &work).map_err(failed("set the work directory"))?;
    fsconfig_create(&overlay).map_err(failed("stack the layers"))?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV;
    let mounted = fsmount(&overlay, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(failed("mount"))?;
    move_mount(&mounted, "", CWD, &root, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(failed("attach"))?;
    Ok(Mounted(root))
}
