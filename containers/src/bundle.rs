//! An OCI bundle: what the helper needs to run one container, written into a folder of its own.
//!
//! ```text
//! DIR/config.json     OCI runtime specification 1.2
//! DIR/rootfs/         overlayfs: the image's layers below, DIR/upper on top
//! DIR/hosts, DIR/hostname, DIR/resolv.conf     mounted read-only into the container's /etc
//! ```
//!
//! Everything that bounds the container is decided here and nowhere else; the helper only carries it out.
//! Image configuration and the image's files are hostile.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use oci_spec::OciSpecError;
use oci_spec::runtime::{LinuxBuilder, Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder, VERSION};

use crate::container::ContainerRequest;
use crate::images::{Tree, TreeError};

mod overlay;
mod process;
mod sandbox;
mod seccomp;
mod user;

pub use process::ProcessError;
#[cfg(test)]
pub(crate) use seccomp::default_profile;
pub use user::UserError;

use user::Identity;

/// Ports below 1024 need no privilege inside, and everybody may ping; both as Docker sets them.
const SYSCTLS: [(&str, &str); 2] =
    [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")];

/// What a bundle is made of.
#[derive(Debug)]
pub struct BundleRequest<'a> {
    /// Folder of the bundle; it must not exist.
    pub directory: &'a Path,
    /// What is to run in it.
    pub container: &'a ContainerRequest<'a>,
    /// The most files that the caller may let a process open.
    pub max_open_files: u64,
}

/// A bundle on disk, its root mounted; unmounted when dropped.
#[derive(Debug)]
pub struct Bundle {
    _root: overlay::Mounted,
}

impl Bundle {
    /// Mounts the root and writes everything; blocks.
    pub fn create(request: &BundleRequest<'_>) -> Result<Self, BundleError> {
        let directory = request.directory.to_owned();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(BundleError::Io)?;
        let image = request.container.image;
        let mounted = overlay::mount(&image.layers, &directory)?;
        let tree = Tree::open(mounted.path())?;
        let identity = identity(&tree, &image.config.user)?;
        let working_dir = working_dir(&image.config.working_dir);
        tree.make_directories(working_dir.as_bytes())?;
        let etc = write_etc(&directory, request)?;
        let spec = spec(request, &identity, working_dir, &etc)?;
        spec.save(directory.join("config.json"))?;
        Ok(Self { _root: mounted })
    }
}

/// An image without a working directory starts at the root.
fn working_dir(configured: &str) -> &str {
    if configured.is_empty() { "/" } else { configured }
}

/// Looks the image's user up in the image's files.
fn identity(tree: &Tree, user: &str) -> Result<Identity, BundleError> {
    let text = |path: &str| -> Result<String, BundleError> {
        let Some(file) = tree.read(path)? else {
            return Ok(String::new());
        };
        let file = fs::File::from(file);
        if !file.metadata().map_err(BundleError::Io)?.is_file() {
            return Ok(String::new());
        }
        let mut bytes = Vec::new();
        file.take(user::MAX_FILE_BYTES).read_to_end(&mut bytes).map_err(BundleError::Io)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(user::identity(user, &text("etc/passwd")?, &text("etc/group")?)?)
}

/// The files of `/etc` that belong to the network, not to the image.
fn write_etc<'a>(directory: &Path, request: &BundleRequest<'_>) -> Result<Vec<(&'a str, PathBuf)>, BundleError> {
    let name = host_name(request);
    let mut hosts = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (address, name) in &request.container.network.hosts {
        hosts.push_str(&format!("{address}\t{name}\n"));
    }
    let files = [
        ("/etc/hosts", "hosts", hosts),
        ("/etc/hostname", "hostname", format!("{name}\n")),
        ("/etc/resolv.conf", "resolv.conf", request.container.network.resolv_conf.clone()),
    ];
    let mut mounts = Vec::new();
    for (destination, file, text) in files {
        let path = directory.join(file);
        fs::write(&path, text).map_err(BundleError::Io)?;
        mounts.push((destination, path));
    }
    Ok(mounts)
}

fn host_name<'a>(request: &BundleRequest<'a>) -> &'a str {
    let service = request.container.service;
    service.names.hostname.as_deref().unwrap_or(&service.name)
}

fn spec(
    request: &BundleRequest<'_>,
    identity: &Identity,
    working_dir: &str,
    etc: &[(&str, PathBuf)],
) -> Result<Spec, BundleError> {
    let namespaces = sandbox::namespaces(request.container.network.namespace.as_deref())?;
    let list = |paths: &[&str]| paths.iter().map(|path| path.to_string()).collect::<Vec<_>>();
    let linux = LinuxBuilder::default()
        .namespaces(namespaces)
        .cgroups_path(format!("/dstyx/{}", request.container.id))
        .masked_paths(list(&sandbox::MASKED_PATHS))
        .readonly_paths(list(&sandbox::READONLY_PATHS))
        .sysctl(
            SYSCTLS
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into_iter()
                .collect::<std::collections::HashMap<_, _>>(),
        )
        .seccomp(seccomp::default_profile())
        .rootfs_propagation("private")
        .build()?;
    let spec = SpecBuilder::default()
        .version(VERSION)
        .root(RootBuilder::default().path(overlay::ROOT).readonly(false).build()?)
        .hostname(host_name(request))
        .mounts(sandbox::mounts(etc)?)
        .process(process(request, identity, working_dir)?)
        .linux(linux)
        .build()?;
    Ok(spec)
}

fn process(request: &BundleRequest<'_>, identity: &Identity, working_dir: &str) -> Result<Process, BundleError> {
    let (image, service) = (&request.container.image.config, request.container.service);
    let user = UserBuilder::default()
        .uid(identity.uid)
        .gid(identity.gid)
        .additional_gids(identity.additional_gids.clone())
        .build()?;
    let process = ProcessBuilder::default()
        .terminal(false)
        .user(user)
        .args(process::arguments(image, &service.process)?)
        .env(process::environment(image, &service.process.environment, host_name(request))?)
        .cwd(working_dir)
        .capabilities(sandbox::capabilities(identity.uid)?)
        .rlimits(sandbox::rlimits(request.max_open_files)?)
        .no_new_privileges(true)
        .build()?;
    Ok(process)
}

/// Why a service and its image make no container.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// There is nothing to run, or it cannot be passed.
    #[error("{0}")]
    Process(#[from] ProcessError),
    /// The image's user is nobody.
    #[error("{0}")]
    User(#[from] UserError),
    /// The image's files cannot be used.
    #[error("the image's files: {0}")]
    Tree(#[from] TreeError),
    /// The layers cannot be stacked.
    #[error("overlayfs: {what}: {error}")]
    Overlay {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The folder cannot be written.
    #[error("bundle: {0}")]
    Io(io::Error),
    /// The runtime specification cannot be built or written.
    #[error("runtime specification: {0}")]
    Spec(#[from] OciSpecError),
}
