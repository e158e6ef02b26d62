//! What a container is: service and image as a request for the helper.
//!
//! Everything that bounds the container is decided here and nowhere else; the helper only carries
//! it out, and refuses what it cannot. Pure but for [`Bundle::write`]: no file of the image is
//! looked at here. Image configuration and the image's files are hostile.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use compose::model::{HostNamespace, Service};
use container_helper::wire::{
    INIT_PATH, INIT_ROLE, LogRequest, ROOT, RootRequest, StartRequest, UserRequest,
};
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    LinuxBuilder, Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder, VERSION,
};

use crate::launcher::{ContainerRequest, Launcher};

mod capabilities;
mod devices;
mod limits;
mod mounts;
mod names;
mod process;
mod sandbox;
mod seccomp;

pub use capabilities::UnknownCapability;
pub use devices::DeviceError;
pub use limits::UnknownLimit;
pub use mounts::MountError;
pub use process::ProcessError;
pub use seccomp::profile;

use mounts::Plan;

/// The parameters that a network namespace has of its own begin so.
const NETWORK_PREFIX: &str = "net.";

/// A container as it will be: the request for its helper and the files that it mounts.
#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) request: StartRequest,
    files: Vec<PlannedFile>,
}

/// A file or directory of the bundle that a mount shows.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PlannedFile {
    path: PathBuf,
    /// A directory if `None`.
    content: Option<Vec<u8>>,
    uid: u32,
    gid: u32,
    mode: u32,
}

impl Bundle {
    /// Decides everything. `directory` is the container's run directory, `first_id` the beginning
    /// of its range.
    pub(crate) fn plan(
        launcher: &Launcher,
        container: &ContainerRequest<'_>,
        first_id: u32,
    ) -> Result<Self, BundleError> {
        let directory = launcher.directory(container.id);
        let data = launcher.data_dir.join("containers").join(container.id);
        let plan = mounts::plan(launcher, container)?;
        let (service, image) = (container.service, &container.image.config);
        let request = StartRequest {
            id: container.id.to_owned(),
            spec: spec(container, &plan)?,
            root: RootRequest { layers: container.image.layers.clone(), writable: data },
            user: UserRequest {
                name: service.process.user.clone().unwrap_or_else(|| image.user.clone()),
                groups: service.process.group_add.clone(),
            },
            first_id: (!has_guest_ids(service)).then_some(first_id),
            binds: plan.binds,
            network_namespace: container.network.namespace.clone(),
            network_sysctls: network_sysctls(container),
            limits: limits::cgroup(&service.resources),
            has_neighbours: container.has_neighbours,
            devices: devices::rules(&service.privileges)?,
            danger_no_filter: service.privileges.privileged
                || service.privileges.seccomp_unconfined,
            stdin_open: service.process.stdin_open,
            log: log(launcher, container),
            directory,
        };
        Ok(Self { request, files: plan.files })
    }

    /// Writes the files that are mounted.
    pub(crate) fn write(&self) -> io::Result<()> {
        for file in &self.files {
            let made = match &file.content {
                None => fs::DirBuilder::new().recursive(true).mode(0o700).create(&file.path),
                Some(content) => write(&file.path, content),
            };
            made?;
            std::os::unix::fs::chown(&file.path, Some(file.uid), Some(file.gid))?;
            fs::set_permissions(&file.path, fs::Permissions::from_mode(file.mode))?;
        }
        Ok(())
    }
}

/// Readable for nobody else, however short.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, content)
}

/// Whether a service asks for something that has a meaning only with the guest's own ids: all of
/// these need `danger_privileged` in the measured file.
fn has_guest_ids(service: &Service) -> bool {
    let privileges = &service.privileges;
    privileges.privileged
        || !privileges.host_namespaces.is_empty()
        || !privileges.devices.is_empty()
        || capabilities::beyond_default(privileges)
}

fn shares(service: &Service, namespace: HostNamespace) -> bool {
    service.privileges.host_namespaces.contains(&namespace)
}

fn network_sysctls(container: &ContainerRequest<'_>) -> Vec<(String, String)> {
    if container.network.namespace.is_none() {
        // The guest's own, which is not for a container to change.
        return Vec::new();
    }
    let sysctls = container.service.privileges.sysctls.iter();
    sysctls.filter(|(name, _)| name.starts_with(NETWORK_PREFIX)).cloned().collect()
}

fn log(launcher: &Launcher, container: &ContainerRequest<'_>) -> Option<LogRequest> {
    let logging = &container.service.logging;
    (!logging.none).then(|| LogRequest {
        path: launcher.log_dir.join(format!("{}.log", container.id)),
        max_bytes: logging.max_bytes,
        max_files: logging.max_files,
    })
}

fn spec(container: &ContainerRequest<'_>, plan: &Plan) -> Result<Spec, BundleError> {
    let service = container.service;
    let privileges = &service.privileges;
    let held = capabilities::held(privileges)?;
    let own_sysctls =
        privileges.sysctls.iter().filter(|(name, _)| !name.starts_with(NETWORK_PREFIX));
    let mut linux = LinuxBuilder::default()
        .namespaces(sandbox::namespaces(service)?)
        .cgroups_path(format!("/dstyx/{}", container.id))
        .masked_paths(sandbox::masked_paths(privileges))
        .readonly_paths(sandbox::readonly_paths(privileges))
        .sysctl(own_sysctls.cloned().collect::<std::collections::HashMap<_, _>>())
        .devices(devices::nodes(privileges)?)
        .rootfs_propagation("private");
    if !privileges.privileged && !privileges.seccomp_unconfined {
        linux = linux.seccomp(seccomp::profile(&held));
    }
    let mut linux = linux.build()?;
    // The helper bounds the cgroup and its devices itself.
    linux.set_resources(None);
    let spec = SpecBuilder::default()
        .version(VERSION)
        .root(RootBuilder::default().path(ROOT).readonly(service.read_only).build()?)
        .mounts(plan.mounts.clone())
        .process(process(container, held)?)
        .linux(linux);
    let mut spec = spec.build()?;
    // The builder has a host name of its own; the guest's is not for a container to set.
    let own_names = !shares(service, HostNamespace::Uts);
    spec.set_hostname(own_names.then(|| names::host_name(container).to_owned()));
    spec.set_domainname(service.names.domainname.clone().filter(|_| own_names));
    Ok(spec)
}

fn process(
    container: &ContainerRequest<'_>,
    held: oci_spec::runtime::Capabilities,
) -> Result<Process, BundleError> {
    let (image, service) = (&container.image.config, container.service);
    let working_dir = service.process.working_dir.as_deref().unwrap_or(&image.working_dir);
    let mut arguments = process::arguments(image, &service.process)?;
    if service.process.init {
        arguments.splice(0..0, [INIT_PATH.to_owned(), INIT_ROLE.to_owned()]);
    }
    let mut process = ProcessBuilder::default()
        .terminal(service.process.tty)
        .args(arguments)
        .env(process::environment(
            image,
            &service.process.environment,
            names::host_name(container),
        )?)
        .cwd(if working_dir.is_empty() { "/" } else { working_dir })
        .capabilities(capabilities::sets(held)?)
        .rlimits(limits::process(&service.resources)?)
        .no_new_privileges(true);
    if let Some(score) = service.resources.oom_score_adj {
        process = process.oom_score_adj(score);
    }
    Ok(process.build()?)
}

/// Why a service and its image make no container.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// there is nothing to run, or it cannot be passed
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// something cannot be mounted
    #[error(transparent)]
    Mount(#[from] MountError),
    /// a device cannot be given
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// there is no such capability
    #[error(transparent)]
    Capability(#[from] UnknownCapability),
    /// there is no such limit
    #[error(transparent)]
    Limit(#[from] UnknownLimit),
    /// the runtime specification cannot be built
    #[error("runtime specification: {0}")]
    Spec(#[from] OciSpecError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launcher::Sockets;
    use crate::network::Joined;
    use compose::digest::ContentDigest;
    use compose::{ComposeFile, Inputs};
    use container_images::{PulledImage, parse_config};

    /// An image that names programs wherever some runtime or tool has looked for one to run beside
    /// a container.
    const IMAGE: &str = r#"{
        "os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}, "hooks": {"prestart": [{"path": "/x"}]},
        "annotations": {"run.oci.hooks.stdout": "/x"}, "history": [{"created_by": "/x"}], "container_config": {"Cmd": ["/x"]},
        "config": {
            "Cmd": ["/program"], "OnBuild": ["RUN /x"], "Hooks": {"createRuntime": [{"path": "/x"}]}, "Shell": ["/x", "-c"],
            "Annotations": {"org.opencontainers.image.hooks": "/x"},
            "Labels": {"run.oci.hooks.prestart": "/x", "io.containers.hook": "/x", "com.docker.init": "/x", "hooks": "{\"poststop\": []}"}
        }
    }"#;

    /// The same without all that.
    const PLAIN_IMAGE: &str = r#"{
        "os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}, "config": {"Cmd": ["/program"]}
    }"#;

    fn compose() -> String {
        format!("services:\n  web:\n    image: example.org/web@sha256:{}\n", "00".repeat(32))
    }

    fn planned(compose: &str, image: &str) -> Bundle {
        let compose = ComposeFile::read(
            compose.as_bytes(),
            &Inputs { danger_privileged: true, ..Inputs::default() },
        )
        .expect("compose file");
        let (config, _) = parse_config(image.as_bytes(), 0).expect("image");
        let manifest = ContentDigest::from_bytes([0; 32]);
        let image = PulledImage {
            manifest,
            config,
            layers: Vec::new(),
            documents: Vec::new(),
            notes: Vec::new(),
        };
        let network = Joined {
            namespace: None,
            addresses: Vec::new(),
            resolv_conf: String::new(),
            hosts: Vec::new(),
        };
        let sockets = Sockets {
            dstack: "/dstack.sock".into(),
            tappd: "/tappd.sock".into(),
            pads: "/pads".into(),
        };
        let [helper, run_dir, data_dir, log_dir] =
            ["/helper", "/run", "/data", "/log"].map(PathBuf::from);
        let launcher = Launcher { helper, run_dir, data_dir, log_dir, sockets };
        let service = &compose.services[0];
        let container = ContainerRequest {
            id: "web-1",
            service,
            image: &image,
            network: &network,
            has_neighbours: false,
        };
        Bundle::plan(&launcher, &container, 65536).expect("bundle")
    }

    #[test]
    fn nothing_that_an_image_or_a_label_says_becomes_a_hook() {
        let plain = compose();
        let labelled = format!("{plain}    labels: {{run.oci.hooks.prestart: /x, hooks: /x}}\n");
        let bundle = planned(&labelled, IMAGE);
        let spec = &bundle.request.spec;
        assert!(
            spec.hooks().is_none()
                && spec.annotations().as_ref().is_none_or(|annotations| annotations.is_empty())
        );
        assert!(!serde_json::to_string(&bundle.request).expect("request").contains("/x"));
        assert_eq!(
            bundle.request,
            planned(&plain, PLAIN_IMAGE).request,
            "what it says changes nothing"
        );
    }

    #[test]
    fn who_shares_the_guests_host_name_does_not_set_it() {
        let named = |key: &str| {
            planned(&format!("{}    {key}\n    domainname: example.org\n", compose()), PLAIN_IMAGE)
        };
        let names = |bundle: Bundle| {
            (bundle.request.spec.hostname().clone(), bundle.request.spec.domainname().clone())
        };
        assert_eq!(names(named("uts: host")), (None, None));
        let own = (Some("web".to_owned()), Some("example.org".to_owned()));
        assert_eq!(names(named("ipc: host")), own);
    }
}
