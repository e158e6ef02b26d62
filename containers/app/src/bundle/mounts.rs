//! What a container sees mounted: the system's file systems, its files in `/etc`, and what its
//! service asks for.
//!
//! Each bind has a place `mounts/N` in the run directory, where the helper puts it with the
//! container's ids; the specification's mount shows that place. Nothing of the guest is shown but
//! what is listed here.

use std::path::{Path, PathBuf};

use compose::digest::ContentDigest;
use compose::model::{self, AgentSocket, DirectoryFile, HostNamespace, MountSource, Tmpfs};
use container_helper::wire::{Bind, INIT_PATH, MOUNTS};
use oci_spec::OciSpecError;
use oci_spec::runtime::{Mount, MountBuilder};
use sha2::{Digest, Sha256};

use super::{PlannedFile, names, shares};
use crate::launcher::{ContainerRequest, Launcher};

/// `/dev/shm` without a size in the file, as Docker has it.
const SHM_BYTES: u64 = 64 << 20;
/// Permission bits of a tmpfs without any in the file.
const TMPFS_MODE: u32 = 0o1777;
/// Where no image may put something: the kernel's file systems.
const PLACES: [&str; 3] = ["/dev", "/proc", "/sys"];
/// Where data directories lie on the data disk, beside the volumes; in a directory of its own, so
/// that one which is being made has a place beside it on the same subvolume.
const DATA_DIRECTORIES: &str = "directories/all";
/// Names of files that the agent writes for a container, in its run directory.
const FILES: &str = "files";

/// The mounts of a container, and what they need.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) mounts: Vec<Mount>,
    pub(super) binds: Vec<Bind>,
    pub(super) files: Vec<PlannedFile>,
}

/// Decides all mounts of a container.
pub(super) fn plan(
    launcher: &Launcher,
    container: &ContainerRequest<'_>,
) -> Result<Plan, MountError> {
    let mut planner = Planner { launcher, container, plan: Plan::default() };
    planner.system()?;
    planner.names()?;
    for mount in &container.service.mounts {
        planner.service_mount(mount)?;
    }
    planner.image_volumes()?;
    Ok(planner.plan)
}

struct Planner<'a> {
    launcher: &'a Launcher,
    container: &'a ContainerRequest<'a>,
    plan: Plan,
}

impl Planner<'_> {
    fn system(&mut self) -> Result<(), MountError> {
        let service = self.container.service;
        let shm = format!("size={}", service.resources.shm_bytes.unwrap_or(SHM_BYTES));
        // A privileged container may change what it sees of the kernel.
        let access = if service.privileges.privileged { "rw" } else { "ro" };
        self.mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"])?;
        let dev = ["nosuid", "strictatime", "mode=755", "size=65536k"];
        self.mount("/dev", "tmpfs", "tmpfs", &dev)?;
        let terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
        self.mount("/dev/pts", "devpts", "devpts", &terminals)?;
        let system = ["rbind", access, "nosuid", "noexec", "nodev", "private"];
        self.bind("/sys", Bind::System, &system)?;
        self.mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", access],
        )?;
        if !shares(service, HostNamespace::Ipc) {
            self.mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"])?;
        }
        self.mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &shm])?;
        if service.process.init {
            let options = ["bind", "ro", "nosuid", "nodev", "private"];
            self.bind(INIT_PATH, Bind::Program(self.launcher.helper.clone()), &options)?;
        }
        Ok(())
    }

    /// Files that belong to the network, not to the image; a service that mounts its own keeps that
    /// one.
    fn names(&mut self) -> Result<(), MountError> {
        for (target, text) in names::files(self.container) {
            if !self.container.service.mounts.iter().any(|mount| mount.target == target) {
                let path = self.file(text.into_bytes(), (0, 0), 0o644);
                self.bind(
                    target,
                    Bind::Path(path),
                    &["bind", "ro", "nosuid", "noexec", "nodev", "private"],
                )?;
            }
        }
        Ok(())
    }

    fn service_mount(&mut self, mount: &model::Mount) -> Result<(), MountError> {
        let target = mount.target.as_str();
        let access = if mount.read_only { "ro" } else { "rw" };
        let volume = ["bind", access, "nosuid", "nodev", "private"];
        let file = ["bind", "ro", "nosuid", "nodev", "private"];
        match &mount.source {
            MountSource::Volume { name, subpath, nocopy } => {
                let directory = self.launcher.data_dir.join("volumes").join(plain(name)?);
                let fill = (!nocopy && subpath.is_none()).then(|| target.to_owned());
                self.bind(
                    target,
                    Bind::Volume { directory, subpath: subpath.clone(), fill },
                    &volume,
                )
            }
            MountSource::Data { path, seed } => {
                let bind = self.data(path, seed, target)?;
                self.bind(target, bind, &volume)
            }
            MountSource::Anonymous => {
                let bind = self.anonymous(target);
                self.bind(target, bind, &volume)
            }
            MountSource::Tmpfs(tmpfs) => {
                let options = tmpfs_options(tmpfs, access);
                let options: Vec<&str> = options.iter().map(String::as_str).collect();
                self.mount(target, "tmpfs", "tmpfs", &options)
            }
            MountSource::File { content, uid, gid, mode } => {
                let path = self.file(content.clone(), (*uid, *gid), *mode);
                self.bind(target, Bind::Path(path), &file)
            }
            MountSource::Directory { files } => {
                let path = self.directory(files)?;
                self.bind(target, Bind::Path(path), &file)
            }
            MountSource::Socket(socket) => {
                let sockets = &self.launcher.sockets;
                let path = match socket {
                    AgentSocket::Dstack => sockets.dstack.clone(),
                    AgentSocket::Tappd => sockets.tappd.clone(),
                    AgentSocket::Pads => {
                        sockets.pads.join(format!("{}.sock", self.container.service.name))
                    }
                };
                self.bind(
                    target,
                    Bind::Path(path),
                    &["bind", access, "nosuid", "noexec", "nodev", "private"],
                )
            }
        }
    }

    /// What the image wants to outlive the container, where the service has nothing of its own.
    fn image_volumes(&mut self) -> Result<(), MountError> {
        for target in &self.container.image.config.volumes {
            if !self.plan.mounts.iter().any(|mount| mount.destination() == Path::new(target)) {
                if PLACES.iter().any(|place| Path::new(target).starts_with(place)) {
                    return Err(MountError::Place(target.clone()));
                }
                let bind = self.anonymous(target);
                self.bind(target, bind, &["bind", "rw", "nosuid", "nodev", "private"])?;
            }
        }
        Ok(())
    }

    /// A volume of this container alone, told apart by where it is mounted.
    fn anonymous(&self, target: &str) -> Bind {
        let name = ContentDigest::from_bytes(Sha256::digest(target).into()).hex();
        let directory = self
            .launcher
            .data_dir
            .join("containers")
            .join(self.container.id)
            .join("volumes")
            .join(name);
        Bind::Volume { directory, subpath: None, fill: Some(target.to_owned()) }
    }

    /// A data directory; its seed is written beside the container's own files, to be copied once.
    fn data(
        &mut self,
        path: &str,
        seed: &[DirectoryFile],
        target: &str,
    ) -> Result<Bind, MountError> {
        for component in path.split('/') {
            plain(component)?;
        }
        // The app writes them, unlike measured files.
        let writable =
            |file: &DirectoryFile| DirectoryFile { mode: file.mode | 0o200, ..file.clone() };
        let seed: Vec<DirectoryFile> = seed.iter().map(writable).collect();
        let seed = if seed.is_empty() { None } else { Some(self.directory(&seed)?) };
        let root = self.launcher.data_dir.join(DATA_DIRECTORIES);
        Ok(Bind::Data { root, path: path.to_owned(), seed, target: target.to_owned() })
    }

    /// A file that the agent writes; its path.
    fn file(&mut self, content: Vec<u8>, (uid, gid): (u32, u32), mode: u32) -> PathBuf {
        let path = self.next_file();
        self.plan.files.push(PlannedFile {
            path: path.clone(),
            content: Some(content),
            uid,
            gid,
            mode: mode & 0o777,
        });
        path
    }

    /// A directory of files that the agent writes.
    fn directory(&mut self, files: &[DirectoryFile]) -> Result<PathBuf, MountError> {
        let directory = self.next_file();
        let root =
            PlannedFile { path: directory.clone(), content: None, uid: 0, gid: 0, mode: 0o755 };
        self.plan.files.push(root);
        for DirectoryFile { path, content, mode } in files {
            let mut inner = directory.clone();
            for component in path.split('/') {
                inner.push(plain(component)?);
            }
            let content = Some(content.clone());
            self.plan.files.push(PlannedFile {
                path: inner,
                content,
                uid: 0,
                gid: 0,
                mode: mode & 0o777,
            });
        }
        Ok(directory)
    }

    fn next_file(&self) -> PathBuf {
        self.launcher
            .directory(self.container.id)
            .join(FILES)
            .join(self.plan.files.len().to_string())
    }

    fn bind(&mut self, target: &str, bind: Bind, options: &[&str]) -> Result<(), MountError> {
        let place = self
            .launcher
            .directory(self.container.id)
            .join(MOUNTS)
            .join(self.plan.binds.len().to_string());
        self.plan.binds.push(bind);
        self.add(target, "bind", place, options)
    }

    fn mount(
        &mut self,
        target: &str,
        kind: &str,
        source: &str,
        options: &[&str],
    ) -> Result<(), MountError> {
        self.add(target, kind, source.into(), options)
    }

    /// Adds a mount; one that a service asks for takes the place of the system's at the same
    /// target.
    fn add(
        &mut self,
        target: &str,
        kind: &str,
        source: PathBuf,
        options: &[&str],
    ) -> Result<(), MountError> {
        let options: Vec<String> = options.iter().map(|option| option.to_string()).collect();
        let mount = MountBuilder::default()
            .destination(target)
            .typ(kind)
            .source(source)
            .options(options)
            .build()?;
        self.plan.mounts.retain(|known| known.destination() != Path::new(target));
        self.plan.mounts.push(mount);
        Ok(())
    }
}

fn tmpfs_options(tmpfs: &Tmpfs, access: &str) -> Vec<String> {
    let exec = if tmpfs.exec { "exec" } else { "noexec" };
    let mut options = ["nosuid", exec, "nodev", access].map(str::to_owned).to_vec();
    options.push(format!("mode={:o}", tmpfs.mode.unwrap_or(TMPFS_MODE)));
    options.extend(tmpfs.size_bytes.map(|bytes| format!("size={bytes}")));
    let owner = [("uid", tmpfs.uid), ("gid", tmpfs.gid)];
    options
        .extend(owner.iter().filter(|(_, id)| *id != 0).map(|(name, id)| format!("{name}={id}")));
    options
}

/// A name that stays where it is put.
fn plain(name: &str) -> Result<&str, MountError> {
    let stays = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
    stays.then_some(name).ok_or_else(|| MountError::Name(name.to_owned()))
}

/// Why something cannot be mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// a volume or file has a name that leads elsewhere
    #[error("{0:?} is no name of a volume or file")]
    Name(String),
    /// the image wants a volume where the kernel's file systems are
    #[error("the image's volume {0:?} is where the kernel's file systems are")]
    Place(String),
    /// the mount cannot be described
    #[error("mount: {0}")]
    Spec(#[from] OciSpecError),
}
