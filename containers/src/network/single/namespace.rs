//! A network namespace that a file stands for, so that it is set up before the container enters it.
//!
//! Namespaces belong to threads. A thread of its own makes one, binds it to the file, opens a netlink
//! socket in it, and ends; file and socket go on belonging to the new namespace.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use tokio::runtime::Handle;

use super::{Netlink, NetworkError};

/// A bound namespace; unbound when dropped.
#[derive(Debug)]
pub(super) struct Namespace(PathBuf);

impl Namespace {
    /// Makes a namespace at `file`, which must not exist.
    pub(super) async fn create(file: PathBuf) -> Result<(Self, Netlink), NetworkError> {
        let runtime = Handle::current();
        let made = tokio::task::spawn_blocking(move || {
            // Not the blocking pool's own thread: that one would stay in the namespace.
            std::thread::scope(|scope| {
                let inside = scope.spawn(|| in_new_namespace(&file, &runtime));
                inside.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
            })
            .map(|netlink| (Self(file), netlink))
        });
        let made = made.await.map_err(|error| NetworkError::Namespace(io::Error::other(error)))?;
        made.map_err(NetworkError::Namespace)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn open(&self) -> Result<File, NetworkError> {
        File::open(&self.0).map_err(NetworkError::Namespace)
    }
}

fn in_new_namespace(file: &Path, runtime: &Handle) -> io::Result<Netlink> {
    File::create_new(file)?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    mount_bind("/proc/thread-self/ns/net", file)?;
    let _context = runtime.enter();
    let (connection, handle, _) = rtnetlink::new_connection()?;
    Ok(Netlink { handle, connection: runtime.spawn(connection) })
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let unbound = unmount(&self.0, UnmountFlags::DETACH).map_err(io::Error::from);
        if let Err(error) = unbound.and_then(|()| std::fs::remove_file(&self.0)) {
            tracing::warn!(namespace = %self.0.display(), %error, "unbinding failed");
        }
    }
}
