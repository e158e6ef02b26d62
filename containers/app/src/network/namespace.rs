//! A network namespace that a file stands for, so that it is set up before the container enters it.
//!
//! Namespaces belong to threads. A thread of its own makes or enters one and ends; descriptors,
//! sockets and the bound file go on belonging to it. The file is bound last, so that one which is
//! bound is whole.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::statfs;
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use tokio::runtime::Handle;

/// What `statfs` says of a file that stands for a namespace (`NSFS_MAGIC`).
const NSFS_MAGIC: u64 = 0x6e73_6673;

/// Makes a namespace and runs `prepare` in it.
pub(super) async fn create<T: Send + 'static>(
    prepare: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<(File, T)> {
    on_a_thread(move || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let namespace = File::open("/proc/thread-self/ns/net")?;
        Ok((namespace, prepare()?))
    })
    .await
}

/// Runs `work` in a namespace.
pub(super) async fn inside<T: Send + 'static>(
    namespace: &File,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let namespace = namespace.try_clone()?;
    on_a_thread(move || {
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
        work()
    })
    .await
}

/// Runs `work` on a thread that ends with it and knows the runtime. Not the blocking pool's own:
/// that one would stay where it went.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let runtime = Handle::current();
    let done = tokio::task::spawn_blocking(move || {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let _context = runtime.enter();
                work()
            });
            thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
        })
    });
    done.await.map_err(io::Error::other)?
}

/// Lets `file`, which must not exist, stand for a namespace.
pub(super) fn bind(namespace: &File, file: &Path) -> io::Result<()> {
    File::create_new(file)?;
    mount_bind(format!("/proc/self/fd/{}", namespace.as_raw_fd()), file)?;
    Ok(())
}

/// Whether a file stands for a namespace.
pub(super) fn is_bound(file: &Path) -> bool {
    statfs(file).is_ok_and(|found| u64::try_from(found.f_type) == Ok(NSFS_MAGIC))
}

/// Ends what [`bind`] began; the namespace ends once no process is in it. A file that is not there
/// is fine.
pub(super) fn unbind(file: &Path) -> io::Result<()> {
    if is_bound(file) {
        unmount(file, UnmountFlags::DETACH)?;
    }
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
