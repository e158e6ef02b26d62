//! The places of the kernel's file systems in a container: no link of the image's and no volume
//! gets there.
//!
//! libcontainer makes the links and nodes of `/dev` by path, before the container's root is its
//! root, and follows links inside that root to where it mounts; its own check of targets below
//! `/proc` does not see through links. So an image whose links lead anything to such a place is
//! refused before something is made. A volume's links may change while mounts are made; what came
//! of it is looked at before the program starts.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use oci_spec::runtime::Spec;

use container_tree::{Found, Tree, TreeError};

/// Names in the root of the image.
const PLACES: [&str; 3] = ["dev", "proc", "sys"];
/// As many as the kernel follows (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// Refuses an image in which a place is no directory, or in which a link leads a mount to one, or
/// nowhere.
pub(super) fn check(tree: &Tree, spec: &Spec) -> Result<(), MountPointError> {
    for place in PLACES {
        match tree.look(place.as_bytes())? {
            Found::Nothing | Found::Directory => {}
            Found::Link(_) | Found::Other => return Err(MountPointError::NoDirectory(place)),
        }
    }
    let targets: Vec<&Path> =
        spec.mounts().iter().flatten().map(|mount| mount.destination().as_path()).collect();
    targets.iter().try_for_each(|target| follow(tree, target, &targets))
}

/// Goes to `target` as the kernel would inside the root.
fn follow(tree: &Tree, target: &Path, mounted: &[&Path]) -> Result<(), MountPointError> {
    let path = target.as_os_str().as_bytes();
    let (mut left, mut at, mut links) = (Vec::new(), Vec::<Vec<u8>>::new(), 0);
    put_before(&mut left, path);
    // How many components are left when the first link has been followed.
    let mut behind_links = usize::MAX;
    while let Some(name) = left.pop() {
        match name.as_slice() {
            b".." => {
                at.pop();
                continue;
            }
            _ => at.push(name),
        }
        if let Some(place) = PLACES
            .into_iter()
            .find(|place| at.first().is_some_and(|first| first == place.as_bytes()))
        {
            // What lies below is the kernel's, and which of it is mounted on is not the image's
            // choice without links.
            return if links == 0 {
                Ok(())
            } else {
                Err(MountPointError::Into { target: target.display().to_string(), place })
            };
        }
        match tree.look(&at.join(&b'/'))? {
            Found::Link(to) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(MountPointError::Links(target.display().to_string()));
                }
                at.pop();
                if to.starts_with(b"/") {
                    at.clear();
                }
                behind_links = behind_links.min(left.len());
                put_before(&mut left, &to);
            }
            Found::Nothing if left.len() >= behind_links && !is_mounted(&at, mounted) => {
                return Err(MountPointError::Nowhere(target.display().to_string()));
            }
            Found::Nothing | Found::Directory | Found::Other => {}
        }
    }
    Ok(())
}

/// The components of `path`, to be taken from the end.
fn put_before(left: &mut Vec<Vec<u8>>, path: &[u8]) {
    let parts = path.split(|byte| *byte == b'/').rev();
    left.extend(parts.filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec));
}

/// Whether what is at `at` comes with a mount and not with the image.
fn is_mounted(at: &[Vec<u8>], mounted: &[&Path]) -> bool {
    let path = [b"/".as_slice(), &at.join(&b'/')].concat();
    mounted.iter().any(|target| Path::new(OsStr::from_bytes(&path)).starts_with(target))
}

/// Refuses a container in which something else than the kernel's file systems lies where they are
/// to be, by the text of its `mountinfo` (`proc_pid_mountinfo(5)`).
pub(super) fn verify(mountinfo: &str, spec: &Spec) -> Result<(), MountPointError> {
    let masked = spec.linux().as_ref().and_then(|linux| linux.masked_paths().as_ref());
    let masked = |point: &str| masked.is_some_and(|paths| paths.iter().any(|path| path == point));
    for line in mountinfo.lines() {
        let (mut fields, mut rest) = match line.split_once(" - ") {
            Some((fields, rest)) => (fields.split(' ').skip(3), rest.split(' ')),
            None => continue,
        };
        let (Some(root), Some(point), Some(kind)) = (fields.next(), fields.next(), rest.next())
        else {
            continue;
        };
        let right = match Path::new(point).iter().nth(1).and_then(|name| name.to_str()) {
            Some("proc") => kind == "proc" || masked(point),
            Some("sys") => matches!(kind, "sysfs" | "cgroup2") || masked(point),
            Some("dev") if point == "/dev" => (kind, root) == ("tmpfs", "/"),
            _ => true,
        };
        if !right {
            return Err(MountPointError::Covered {
                point: point.to_owned(),
                kind: kind.to_owned(),
            });
        }
    }
    Ok(())
}

/// Why a container's places are not the kernel's.
#[derive(Debug, thiserror::Error)]
pub enum MountPointError {
    /// the image's files cannot be looked at
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// a link or a file
    #[error("/{0} of the image is no directory")]
    NoDirectory(&'static str),
    /// a link leads a mount to where the kernel's files are
    #[error("mount at {target}: a link of the image leads into /{place}")]
    Into {
        /// Where it should be mounted.
        target: String,
        /// Where it would have been.
        place: &'static str,
    },
    /// a link leads to what is not there
    #[error("mount at {0}: a link of the image leads nowhere")]
    Nowhere(String),
    /// links that lead to each other
    #[error("mount at {0}: more than {MAX_LINKS} links")]
    Links(String),
    /// a link of a volume led a mount there while it was made
    #[error("something of type {kind} is mounted at {point}, where the kernel's files are to be")]
    Covered {
        /// Path of the mount point.
        point: String,
        /// Its file system.
        kind: String,
    },
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use oci_spec::runtime::{LinuxBuilder, MountBuilder, SpecBuilder};

    use super::*;

    fn spec(targets: &[&str]) -> Spec {
        let mount =
            |target: &&str| MountBuilder::default().destination(target).build().expect("mount");
        let linux = LinuxBuilder::default()
            .masked_paths(vec!["/proc/kcore".to_owned()])
            .build()
            .expect("linux");
        let mounts: Vec<_> = targets.iter().map(mount).collect();
        SpecBuilder::default().mounts(mounts).linux(linux).build().expect("specification")
    }

    #[test]
    fn links_on_the_way_to_a_target_are_followed_inside_the_root() {
        let directory = tempfile::tempdir().expect("directory");
        let root = directory.path();
        fs::create_dir_all(root.join("run/deep")).expect("directories");
        fs::create_dir_all(root.join("dev")).expect("directories");
        for (link, target) in [
            ("var", "run"),
            ("up", "../../.."),
            ("run/deep/back", "../../../dev/pts"),
            ("chain", "var/deep/back"),
            ("self", "/proc/self"),
            ("loop", "loop"),
            ("nowhere", "/run/nothing"),
            ("in-volume", "/data/directory"),
        ] {
            symlink(target, root.join(link)).expect("link");
        }
        let tree = Tree::open(root).expect("tree");
        for (target, expected) in [
            ("/proc", None),
            ("/dev/shm", None),
            ("/sys/fs/cgroup", None),
            ("/var/new/one", None),
            ("/up/run/new", None),
            ("/data", None),
            ("/in-volume/x", None),
            ("/chain", Some("mount at /chain: a link of the image leads into /dev")),
            ("/up/dev/x", Some("mount at /up/dev/x: a link of the image leads into /dev")),
            ("/self/fd", Some("mount at /self/fd: a link of the image leads into /proc")),
            ("/loop", Some("mount at /loop: more than 40 links")),
            ("/nowhere/x", Some("mount at /nowhere/x: a link of the image leads nowhere")),
        ] {
            let checked =
                check(&tree, &spec(&["/data", target])).map_err(|error| error.to_string());
            assert_eq!(checked.err().as_deref(), expected, "{target}");
        }
        symlink("run", root.join("sys")).expect("link");
        assert_eq!(
            check(&tree, &spec(&[])).expect_err("a link").to_string(),
            "/sys of the image is no directory"
        );
    }

    #[test]
    fn only_the_kernels_file_systems_are_where_they_are_to_be() {
        let line = |root: &str, point: &str, kind: &str| {
            format!("30 29 0:5 {root} {point} rw shared:1 - {kind} x rw\n")
        };
        let right = line("/", "/", "overlay")
            + &line("/", "/proc", "proc")
            + &line("/sys", "/proc/sys", "proc")
            + &line("/null", "/proc/kcore", "devtmpfs")
            + &line("/", "/dev", "tmpfs")
            + &line("/volume", "/dev/shm", "ext4")
            + &line("/", "/sys", "sysfs")
            + &line("/", "/sys/fs/cgroup", "cgroup2")
            + &line("/volume", "/process", "ext4");
        assert!(verify(&right, &spec(&[])).is_ok());
        for (root, point, kind) in [
            ("/volume", "/proc", "ext4"),
            ("/volume", "/proc/sys", "tmpfs"),
            ("/", "/sys/kernel", "tmpfs"),
            ("/volume", "/dev", "tmpfs"),
            ("/", "/dev", "ext4"),
        ] {
            let error = verify(&(right.clone() + &line(root, point, kind)), &spec(&[]))
                .expect_err(point)
                .to_string();
            assert_eq!(
                error,
                format!(
                    "something of type {kind} is mounted at {point}, where the kernel's files are to be"
                )
            );
        }
    }
}
