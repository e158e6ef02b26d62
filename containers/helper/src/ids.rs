//! A container's own ids: a user namespace for its range, and mounts whose owners are seen through
//! it.
//!
//! On disk every file keeps the ids of the image or of the container, 0 to 65,535. A mount that is
//! mapped shows them as the container's range of the guest's ids, which is what the container's
//! processes have; so root in a container is nobody to the guest, and no file has to be changed for
//! it (`mount_setattr(2)`, "ID-mapped mounts").

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use libcontainer::capabilities::reset_effective;
use libcontainer::syscall::linux::MountAttr;
use libcontainer::syscall::syscall::SyscallType;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::process::{WaitOptions, waitpid};

use crate::sys;
use crate::user::{Identity, UserError};
use crate::wire::ID_RANGE;

/// Ids beyond the range that are mapped one by one: the kernel takes a map of one page.
const MAX_BEYOND: usize = 64;
/// `MOUNT_ATTR_IDMAP`
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
/// A mount of its own, which ends with its descriptor.
const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);
/// `AT_EMPTY_PATH`
const AT_EMPTY_PATH: u32 = 0x1000;

/// How a container's ids stand for the guest's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    /// What root in the container is to the guest.
    first: u32,
    /// Users beyond the range, for each of which one of its last ids is given up.
    users: Vec<u32>,
    /// Groups beyond it.
    groups: Vec<u32>,
}

impl Range {
    /// The container's ids 0 to [`ID_RANGE`] are the guest's from `first` on.
    pub(super) fn plain(first: u32) -> Self {
        Self { first, users: Vec::new(), groups: Vec::new() }
    }

    /// The range for a user of whom some id is larger than those of a container; `None` if none is.
    pub(super) fn beyond(first: u32, identity: &Identity) -> Result<Option<Self>, UserError> {
        let groups = || std::iter::once(identity.gid).chain(identity.additional_gids.clone());
        if identity.uid < ID_RANGE && groups().all(|group| group < ID_RANGE) {
            return Ok(None);
        }
        let mut groups: Vec<u32> = groups().collect();
        groups.sort_unstable();
        groups.dedup();
        let groups = displaced(groups);
        if groups.len() > MAX_BEYOND {
            return Err(UserError::Beyond { found: groups.len(), limit: MAX_BEYOND });
        }
        Ok(Some(Self { first, users: displaced(vec![identity.uid]), groups }))
    }

    /// The lines of `uid_map` and `gid_map` (`user_namespaces(7)`).
    fn maps(&self) -> [String; 2] {
        [&self.users, &self.groups].map(|beyond| {
            let (first, kept) = (self.first, ID_RANGE - beyond.len() as u32);
            let mut map = format!("0 {first} {kept}\n");
            for (id, place) in beyond.iter().zip(first + kept..) {
                map.push_str(&format!("{id} {place} 1\n"));
            }
            map
        })
    }
}

/// Those of `ids`, sorted and each once, that are not below what is kept of the range if each of
/// them takes one of its last places.
fn displaced(ids: Vec<u32>) -> Vec<u32> {
    let kept = ID_RANGE.saturating_sub(ids.len() as u32);
    ids.into_iter().filter(|id| *id >= kept).collect()
}

/// The namespace of one container's ids; none if it has the guest's.
#[derive(Debug)]
pub(super) struct Ids {
    namespace: Option<OwnedFd>,
    /// What root in the container is to the guest.
    root: u32,
}

impl Ids {
    /// Makes the namespace for `range`; without one ids are the guest's.
    pub(super) fn new(range: Option<Range>) -> io::Result<Self> {
        let Some(range) = range else { return Ok(Self { namespace: None, root: 0 }) };
        let (ready, tell_ready) = io::pipe()?;
        let (wait, done) = io::pipe()?;
        let (mut ours, mut theirs) = (Some((ready, done)), Some((tell_ready, wait)));
        // A namespace begins with a process in it; it may go once the namespace is held by a
        // descriptor.
        let holder = sys::in_child(|| {
            // The copy's copies, without which it would wait for itself.
            ours = None;
            theirs.take().map_or(1, |(ready, wait)| hold_namespace(ready, wait).map_or(1, |()| 0))
        })?;
        drop(theirs);
        let Some((mut ready, done)) = ours else { return Err(io::Error::other("no pipes")) };
        let made = (|| {
            ready.read_exact(&mut [0])?;
            let process = format!("/proc/{}", holder.as_raw_nonzero());
            let [users, groups] = range.maps();
            fs::write(format!("{process}/uid_map"), users)?;
            fs::write(format!("{process}/gid_map"), groups)?;
            File::open(format!("{process}/ns/user"))
        })();
        drop(done);
        waitpid(Some(holder), WaitOptions::empty())?;
        Ok(Self { namespace: Some(made?.into()), root: range.first })
    }

    /// The namespace, if the container has one.
    pub(super) fn namespace(&self) -> Option<&OwnedFd> {
        self.namespace.as_ref()
    }

    /// Does something to files as the container's root, to whom what is made belongs; a mapped
    /// mount takes nothing from anybody else. Overlayfs goes on as who mounted it.
    pub(super) fn as_root<T>(&self, act: impl FnOnce() -> T) -> io::Result<T> {
        setfsgid(Gid::from_raw(self.root));
        setfsuid(Uid::from_raw(self.root));
        // With the id went the capabilities over files of others.
        let raised = reset_effective(SyscallType::Linux.create_syscall().as_ref());
        let done = raised.map(|()| act());
        setfsuid(Uid::from_raw(0));
        setfsgid(Gid::from_raw(0));
        done.map_err(io::Error::other)
    }

    /// What is at `path` once more, not attached anywhere, with owners as the container shall see
    /// them.
    pub(super) fn mapped(&self, path: &Path) -> io::Result<OwnedFd> {
        self.map(unmapped(path)?)
    }

    /// The same for what is open already.
    pub(super) fn mapped_open(&self, file: &OwnedFd) -> io::Result<OwnedFd> {
        self.map(open_tree(file, "", CLONE | OpenTreeFlags::AT_EMPTY_PATH)?)
    }

    fn map(&self, tree: OwnedFd) -> io::Result<OwnedFd> {
        if let Some(namespace) = &self.namespace {
            let userns_fd = namespace.as_raw_fd() as u64;
            let attributes =
                MountAttr { attr_set: MOUNT_ATTR_IDMAP, attr_clr: 0, propagation: 0, userns_fd };
            SyscallType::Linux
                .create_syscall()
                .mount_setattr(
                    tree.as_fd(),
                    Path::new(""),
                    AT_EMPTY_PATH,
                    &attributes,
                    size_of::<MountAttr>(),
                )
                .map_err(io::Error::other)?;
        }
        Ok(tree)
    }
}

/// What is at `path` once more, not attached anywhere, with its own owners.
pub(super) fn unmapped(path: &Path) -> io::Result<OwnedFd> {
    Ok(open_tree(rustix::fs::CWD, path, CLONE)?)
}

/// Attaches `tree` at `path`, which is a file or a directory as the tree's root is.
pub(super) fn attach(tree: &OwnedFd, path: &Path) -> io::Result<()> {
    Ok(move_mount(tree, "", rustix::fs::CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// In the process that holds the namespace until the parent has seen to it.
fn hold_namespace(mut ready: io::PipeWriter, mut wait: io::PipeReader) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWUSER)?;
    ready.write_all(&[0])?;
    // Ends when the parent closes its end, also by dying.
    wait.read(&mut [0]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_beyond_the_range_takes_its_last_places() {
        let range = |uid, gid, additional_gids| {
            Range::beyond(1 << 16, &Identity { uid, gid, additional_gids, ..Identity::default() })
        };
        assert_eq!(range(65_535, 65_535, vec![0]), Ok(None));
        let many = range(0, 0, (100_000..100_065).collect());
        assert_eq!(many, Err(UserError::Beyond { found: 65, limit: MAX_BEYOND }));
        assert_eq!(Range::plain(1 << 16).maps()[0], "0 65536 65536\n");
        let large = range(4_191_718, 0, vec![]).expect("few").expect("beyond");
        assert_eq!(
            large.maps(),
            ["0 65536 65535\n4191718 131071 1\n".to_owned(), "0 65536 65536\n".to_owned()]
        );
        // A group that gave up its place for another one is mapped all the same.
        let groups = range(7, 1_000_650_000, vec![7, 65_535, 1_000_650_000]);
        let groups = groups.expect("few").expect("beyond");
        assert_eq!(
            groups.maps(),
            [
                "0 65536 65536\n".to_owned(),
                "0 65536 65534\n65535 131070 1\n1000650000 131071 1\n".to_owned()
            ]
        );
    }
}
