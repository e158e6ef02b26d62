//! Everything that must be there before libcontainer makes the container: ids, root, mounts, user,
//! limits.
//!
//! All of it is mounted in a mount namespace of the helper's own, so that it ends with the helper
//! and the container, and neither the guest nor another container ever sees it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use container_tree::{Tree, TreeError};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::setgroups;
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Capabilities, LinuxNamespaceBuilder, LinuxNamespaceType, PosixRlimitBuilder, PosixRlimitType,
    Spec, UserBuilder,
};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, fsconfig_create, fsmount,
    fsopen, mount_change,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::data::{self, Owner};
use super::ids::{self, Ids, Range};
use super::mount_points::MountPointError;
use super::root::{self, RootError};
use super::user::{self, Identity, UserError};
use super::wire::{Bind, MOUNTS, ROOT, Report, StartRequest};
use super::{cgroup, devices, mount_points, oom, volumes};

/// Open files of one process where the service does not say, as systemd and Docker set them.
const OPEN_FILES: (u64, u64) = (1024, 524_288);

/// What is ready, and has to be kept until the container runs.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The specification with everything filled in, as it stands in `config.json`.
    pub(super) spec: Spec,
    /// Named by the specification as a path of this process.
    _ids: Ids,
}

/// Makes everything ready; `tell` hears of what may take long.
pub(super) fn prepare(
    request: &StartRequest,
    tell: &dyn Fn(&Report),
) -> Result<Prepared, PrepareError> {
    own_mounts().map_err(PrepareError::system("mount namespace"))?;
    join_network(request).map_err(PrepareError::system("network namespace"))?;
    let (ids, mounted, identity) = root_and_identity(request)?;
    let root = request.directory.join(ROOT);
    fs::DirBuilder::new()
        .mode(0o755)
        .create(&root)
        .map_err(PrepareError::system("root directory"))?;
    ids::attach(&mounted, &root).map_err(PrepareError::system("attach the root"))?;
    let tree = Tree::open(&root)?;
    mount_points::check(&tree, &request.spec)?;
    let mut spec = request.spec.clone();
    let own_oom_score = oom::score().map_err(PrepareError::system("own score of memory"))?;
    fill_in(&mut spec, &identity, &ids, own_oom_score)?;
    ids.as_root(|| make_working_dir(&tree, &spec))
        .map_err(PrepareError::system("working directory"))??;
    for (index, bind) in request.binds.iter().enumerate() {
        let at = request.directory.join(MOUNTS).join(index.to_string());
        let user = (identity.uid, identity.gid);
        let done = bind_ready(request, bind, &at, (&ids, user), tell);
        done.map_err(|error| PrepareError::Mount { what: describe(bind), error })?;
    }
    raise_limits(&mut spec).map_err(PrepareError::system("limits of a process"))?;
    let cgroup = cgroup::make(&request.id, &request.limits, request.has_neighbours)
        .map_err(PrepareError::system("cgroup"))?;
    devices::enforce(&cgroup, &request.devices).map_err(PrepareError::system("device filter"))?;
    save(&spec, &request.directory.join("config.json"))?;
    Ok(Prepared { spec, _ids: ids })
}

/// Writes the specification for this user alone: the environment in it may hold secrets.
fn save(spec: &Spec, file: &Path) -> Result<(), PrepareError> {
    let mut private = fs::OpenOptions::new();
    private.write(true).create(true).truncate(true).mode(0o600);
    private.open(file).map_err(PrepareError::system("config.json"))?;
    Ok(spec.save(file)?)
}

/// From here on nothing that is mounted is seen by anybody else, and groups of the caller count no
/// more.
fn own_mounts() -> io::Result<()> {
    setgroups(&[])?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    Ok(mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?)
}

/// The container's root and the user that it runs as, who is looked up in that root.
///
/// A user beyond the range of a container's ids (CI builders and OpenShift have such) gets ids at
/// the range's end; then the root is mounted once more, with owners seen that way.
fn root_and_identity(request: &StartRequest) -> Result<(Ids, OwnedFd, Identity), PrepareError> {
    let failed = PrepareError::system("user namespace");
    let ids = Ids::new(request.first_id.map(Range::plain)).map_err(failed)?;
    let mounted = root::mount(&request.root, &ids)?;
    let again = rustix::io::dup(&mounted).map_err(io::Error::from);
    let tree = Tree::of(again.map_err(PrepareError::system("open the root"))?);
    let identity = identity(&tree, request)?;
    let range = request.first_id.map(|first| Range::beyond(first, &identity)).transpose()?;
    let Some(range) = range.flatten() else {
        return Ok((ids, mounted, identity));
    };
    drop((tree, mounted));
    let ids = Ids::new(Some(range)).map_err(PrepareError::system("user namespace"))?;
    let mounted = root::mount(&request.root, &ids)?;
    Ok((ids, mounted, identity))
}

/// Looks the user up in the image's files.
fn identity(tree: &Tree, request: &StartRequest) -> Result<Identity, PrepareError> {
    let text = |path: &str| -> Result<String, PrepareError> {
        let Some(file) = tree.read(path)? else {
            return Ok(String::new());
        };
        let file = File::from(file);
        let failed = PrepareError::system("read the image's users");
        let mut bytes = Vec::new();
        let read = file.metadata().and_then(|metadata| match metadata.is_file() {
            true => file.take(user::MAX_FILE_BYTES).read_to_end(&mut bytes),
            false => Ok(0),
        });
        read.map_err(failed)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(user::identity(&request.user, &text("etc/passwd")?, &text("etc/group")?)?)
}

/// What only the helper knows: ids, the capabilities that they hold, home, and the namespace of
/// ids.
fn fill_in(
    spec: &mut Spec,
    identity: &Identity,
    ids: &Ids,
    own_oom_score: i32,
) -> Result<(), PrepareError> {
    let user = UserBuilder::default()
        .uid(identity.uid)
        .gid(identity.gid)
        .additional_gids(identity.additional_gids.clone())
        .build()?;
    if let Some(process) = spec.process_mut() {
        process.set_user(user);
        // Effective only for root, as `execve` would have it.
        if let Some(mut capabilities) = process.capabilities().clone().filter(|_| identity.uid != 0)
        {
            capabilities
                .set_effective(Some(Capabilities::new()))
                .set_permitted(Some(Capabilities::new()));
            process.set_capabilities(Some(capabilities));
        }
        // Not the helper's own, which survives containers; nor below what an ordinary user has.
        if process.oom_score_adj().is_none() {
            process.set_oom_score_adj(Some(own_oom_score.max(0)));
        }
        let environment = process.env_mut().get_or_insert_with(Vec::new);
        if !environment.iter().any(|variable| variable.starts_with("HOME=")) {
            environment.push(format!("HOME={}", identity.home));
        }
    }
    let (Some(namespace), Some(linux)) = (ids.namespace(), spec.linux_mut()) else { return Ok(()) };
    let path = format!("/proc/self/fd/{}", namespace.as_raw_fd());
    let namespace =
        LinuxNamespaceBuilder::default().typ(LinuxNamespaceType::User).path(path).build()?;
    linux.namespaces_mut().get_or_insert_with(Vec::new).push(namespace);
    Ok(())
}

fn make_working_dir(tree: &Tree, spec: &Spec) -> Result<(), PrepareError> {
    let Some(process) = spec.process() else { return Ok(()) };
    Ok(tree.make_directories(process.cwd().as_os_str().as_bytes())?)
}

/// Puts what a mount shows at `at`, with the container's ids and the user that it runs as.
fn bind_ready(
    request: &StartRequest,
    bind: &Bind,
    at: &Path,
    (ids, user): (&Ids, (u32, u32)),
    tell: &dyn Fn(&Report),
) -> io::Result<()> {
    let image = || {
        let empty = request.directory.join("empty");
        fs::DirBuilder::new().recursive(true).create(&empty)?;
        root::mount_image(&request.root.layers, &empty).map_err(io::Error::other)
    };
    let tree = match bind {
        Bind::Path(path) => ids.mapped(path)?,
        Bind::Program(path) => ids::unmapped(path)?,
        Bind::Volume { directory, subpath, fill } => {
            volumes::make(directory, image, fill.as_deref(), tell)?;
            ids.mapped_open(&open_volume(directory, subpath.as_deref())?)?
        }
        Bind::Data { root, path, seed, target } => {
            let owner = || Owner::choose(user, &image()?, target);
            ids.mapped_open(&data::open_or_make(root, path, seed.as_deref(), owner)?)?
        }
        Bind::System => system()?,
    };
    let is_directory = File::from(rustix::io::dup(&tree)?).metadata()?.is_dir();
    fs::DirBuilder::new().recursive(true).mode(0o711).create(at.parent().unwrap_or(at))?;
    match is_directory {
        true => fs::create_dir(at)?,
        false => drop(File::create_new(at)?),
    }
    ids::attach(&tree, at)
}

/// A volume, or a directory in it. The app wrote the volume, so links are not followed out of it.
fn open_volume(directory: &Path, subpath: Option<&str>) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let volume = openat(CWD, directory, flags, Mode::empty())?;
    let Some(subpath) = subpath else { return Ok(volume) };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    openat2(&volume, subpath, flags, Mode::empty(), resolve)
        .map_err(|error| io::Error::other(format!("subpath {subpath:?}: {error}")))
}

/// `/sys` as the network namespace has it. Only who owns a network namespace may mount one, and the
/// container's is the guest's.
fn system() -> io::Result<OwnedFd> {
    let system = fsopen("sysfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&system)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_NODEV;
    Ok(fsmount(&system, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Goes into the container's network namespace, which it hands down, and sets the parameters of it;
/// both may only the guest's root, to whom the namespace belongs.
fn join_network(request: &StartRequest) -> io::Result<()> {
    let Some(path) = &request.network_namespace else { return Ok(()) };
    setns(File::open(path)?.as_fd(), CloneFlags::CLONE_NEWNET)?;
    for (name, value) in &request.network_sysctls {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        fs::write(path, value)
            .map_err(|error| io::Error::other(format!("{name}={value}: {error}")))?;
    }
    Ok(())
}

/// Root in a container may not raise its limits, but the helper may, and hands them down.
fn raise_limits(spec: &mut Spec) -> io::Result<()> {
    let Some(process) = spec.process_mut() else { return Ok(()) };
    let mut limits = process.rlimits().clone().unwrap_or_default();
    for limit in limits.iter() {
        raise(resource(limit.typ()), (limit.hard() != u64::MAX).then_some(limit.hard()))
            .map_err(|error| io::Error::other(format!("{:?}: {error}", limit.typ())))?;
    }
    if !limits.iter().any(|limit| limit.typ() == PosixRlimitType::RlimitNofile) {
        let (soft, hard) = OPEN_FILES;
        // A machine that allows fewer is no reason not to run.
        let hard = match raise(Resource::Nofile, Some(hard)) {
            Ok(()) => hard,
            Err(_) => getrlimit(Resource::Nofile).maximum.unwrap_or(hard),
        };
        let limit = PosixRlimitBuilder::default()
            .typ(PosixRlimitType::RlimitNofile)
            .soft(soft.min(hard))
            .hard(hard);
        limits.push(limit.build().map_err(io::Error::other)?);
    }
    process.set_rlimits(Some(limits));
    Ok(())
}

/// Makes the most that this process may have at least `wanted`; `None` is without end.
fn raise(resource: Resource, wanted: Option<u64>) -> io::Result<()> {
    let own = getrlimit(resource);
    let enough = match (own.maximum, wanted) {
        (None, _) => true,
        (Some(own), Some(wanted)) => own >= wanted,
        (Some(_), None) => false,
    };
    if !enough {
        setrlimit(resource, Rlimit { current: own.current, maximum: wanted })?;
    }
    Ok(())
}

fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitStack => Resource::Stack,
    }
}

fn describe(bind: &Bind) -> String {
    match bind {
        Bind::Path(path) | Bind::Program(path) => path.display().to_string(),
        Bind::Volume { directory, .. } => format!("volume {}", directory.display()),
        Bind::Data { path, .. } => format!("data directory ./{path}"),
        Bind::System => "/sys".to_owned(),
    }
}

/// Why a container cannot be made ready.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// the layers cannot be stacked
    #[error(transparent)]
    Root(#[from] RootError),
    /// the image's files cannot be used
    #[error("the image's files")]
    Tree(#[from] TreeError),
    /// something would lie over the kernel's files
    #[error(transparent)]
    Place(#[from] MountPointError),
    /// the user is nobody
    #[error(transparent)]
    User(#[from] UserError),
    /// a mount's source cannot be made ready
    #[error("mount of {what}: {error}")]
    Mount {
        /// The thing that was named.
        what: String,
        /// The error of the kernel.
        error: io::Error,
    },
    /// the specification cannot be completed or written
    #[error("runtime specification")]
    Spec(#[from] OciSpecError),
    /// the kernel refused something
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Its answer.
        error: io::Error,
    },
}

impl PrepareError {
    fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System { what, error }
    }
}
