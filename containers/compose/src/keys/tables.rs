//! The keys of every mapping of a compose file, in the order of the specification's schema sorted
//! by name.

use super::Support::{self, No, Note, Now};
use super::Table;

const WINDOWS: Support = No("it exists on Windows only", "leave it out");
const NO_DAEMON: Support = No("there is no container daemon in the guest", "leave it out");
const USE_CPUS: Support = No("processor time is limited in one way", "use cpus");
const NO_MODELS: Support = No("no model runner is in the guest", "run the model as a service");
const ELSEWHERE: Support =
    No("nothing outlives the guest that it could name", "leave it out: the app has its own");
const ONE_GUEST: Support = Note("the guest is the only host, and an app is replaced whole");
const AS_WRITTEN: Support = Note("logs hold what the service writes, in files of the guest's own");
const ONE_DRIVER: Support = No("the driver has no options", "leave it out");
const NO_TEMPLATE: Support = No("there are no templates", "use content with variables, or a file");
const USE_ADDRESS: Support =
    No("the guest chooses it", "leave it out, or use ipv4_address or ipv6_address");
const USE_SUBNET: Support =
    No("the guest chooses addresses in the subnet", "use subnet, and ipv4_address of a service");

/// Keys of the file.
pub(crate) const TOP: Table = &[
    ("configs", Now),
    (
        "include",
        No(
            "the measured file must be whole",
            "remove app-compose.json: `dstyx up` joins the files",
        ),
    ),
    ("models", NO_MODELS),
    ("name", Now),
    ("networks", Now),
    ("secrets", Now),
    ("services", Now),
    ("version", Now),
    ("volumes", Now),
];

/// Keys of `x-dstyx`, which are ours.
pub(in super::super) const X_DSTYX: Table =
    &[("danger_public_secrets", Now), ("data", Now), ("seed", Now)];

/// Keys of one service.
pub(crate) const SERVICE: Table = &[
    ("annotations", Note("there is nothing that reads them")),
    ("attach", Note("all output is kept alike")),
    ("blkio_config", No("there is one disk and no competitor for it", "leave it out")),
    (
        "build",
        No(
            "nothing is built in the guest",
            "build it here: `docker build -t NAME DIR && docker save -o NAME.tar NAME`, then `dstyx pin --image SERVICE=NAME.tar`",
        ),
    ),
    ("cap_add", Now),
    ("cap_drop", Now),
    ("cgroup", Now),
    ("cgroup_parent", NO_DAEMON),
    ("command", Now),
    ("configs", Now),
    ("container_name", Now),
    ("cpu_count", WINDOWS),
    ("cpu_percent", WINDOWS),
    ("cpu_period", USE_CPUS),
    ("cpu_quota", USE_CPUS),
    ("cpu_rt_period", USE_CPUS),
    ("cpu_rt_runtime", USE_CPUS),
    ("cpu_shares", Now),
    ("cpus", Now),
    ("cpuset", Now),
    ("credential_spec", WINDOWS),
    ("depends_on", Now),
    ("deploy", Now),
    ("develop", Note("the measured file is not for development")),
    ("device_cgroup_rules", No("devices are allowed one by one", "use devices")),
    ("devices", Now),
    ("dns", Now),
    ("dns_opt", Now),
    ("dns_search", Now),
    ("domainname", Now),
    ("entrypoint", Now),
    ("env_file", Now),
    ("environment", Now),
    ("expose", Now),
    (
        "extends",
        No(
            "the measured file must be whole",
            "remove app-compose.json: `dstyx up` joins the files",
        ),
    ),
    ("external_links", No("there are no containers beside the app's", "leave it out")),
    ("extra_hosts", Now),
    ("gpus", No("the guest has no GPU", "leave it out")),
    ("group_add", Now),
    ("healthcheck", Now),
    ("hostname", Now),
    ("image", Now),
    ("init", Now),
    ("ipc", Now),
    ("isolation", WINDOWS),
    ("label_file", No("labels stand in the file", "use labels")),
    ("labels", Now),
    ("links", Now),
    ("logging", Now),
    ("mac_address", USE_ADDRESS),
    ("mem_limit", Now),
    ("mem_reservation", Now),
    ("mem_swappiness", Note("the guest has no swap")),
    ("memswap_limit", Now),
    ("models", NO_MODELS),
    ("network_mode", Now),
    ("networks", Now),
    ("oom_kill_disable", No("the guest could not go on", "use oom_score_adj")),
    ("oom_score_adj", Now),
    ("pid", Now),
    ("pids_limit", Now),
    ("platform", Now),
    ("ports", Now),
    ("post_start", No("there are no hooks", "use a service that others depend on")),
    ("pre_stop", No("there are no hooks", "handle the stop signal in the service")),
    ("privileged", Now),
    ("profiles", Now),
    ("provider", No("no provider runs in the guest", "run a service of its own")),
    ("pull_policy", Now),
    ("pull_refresh_after", Note("an image by digest never changes")),
    ("read_only", Now),
    ("restart", Now),
    ("runtime", Now),
    ("scale", Now),
    ("secrets", Now),
    ("security_opt", Now),
    ("shm_size", Now),
    ("stdin_open", Now),
    ("stop_grace_period", Now),
    ("stop_signal", Now),
    ("storage_opt", NO_DAEMON),
    ("sysctls", Now),
    ("tmpfs", Now),
    ("tty", Now),
    ("ulimits", Now),
    ("use_api_socket", NO_DAEMON),
    ("user", Now),
    ("userns_mode", Now),
    ("uts", Now),
    ("volumes", Now),
    (
        "volumes_from",
        No(
            "mounts stand with the service that has them",
            "use the same named volume under volumes",
        ),
    ),
    ("working_dir", Now),
];

/// Keys of the long form of one entry under `ports`.
pub(crate) const PORT: Table = &[
    ("app_protocol", Now),
    ("host_ip", Now),
    ("mode", Now),
    ("name", Now),
    ("protocol", Now),
    ("published", Now),
    ("target", Now),
];

/// Keys of the long form of one entry under `depends_on`.
pub(crate) const DEPENDENCY: Table = &[("condition", Now), ("required", Now), ("restart", Now)];

/// Keys of the long form of one entry under `devices`.
pub(crate) const DEVICE: Table = &[("permissions", Now), ("source", Now), ("target", Now)];

/// Keys of `logging`.
pub(crate) const LOGGING: Table = &[("driver", Now), ("options", Now)];

/// Keys of `logging.options` of the drivers that keep files; Docker's drivers know them, the schema
/// leaves them open.
pub(crate) const LOG_OPTIONS: Table = &[
    ("compress", AS_WRITTEN),
    ("env", AS_WRITTEN),
    ("env-regex", AS_WRITTEN),
    ("labels", AS_WRITTEN),
    ("labels-regex", AS_WRITTEN),
    ("max-buffer-size", AS_WRITTEN),
    ("max-file", Now),
    ("max-size", Now),
    ("mode", AS_WRITTEN),
    ("tag", AS_WRITTEN),
];

/// Keys of one network of a service.
pub(crate) const ATTACHMENT: Table = &[
    ("aliases", Now),
    ("driver_opts", ONE_DRIVER),
    ("gw_priority", No("the way out is through the first network", "use priority")),
    ("interface_name", No("the guest names interfaces", "leave it out")),
    ("ipv4_address", Now),
    ("ipv6_address", Now),
    ("link_local_ips", USE_ADDRESS),
    ("mac_address", USE_ADDRESS),
    ("priority", Now),
];

/// Keys of the long form of one entry under `volumes` of a service.
pub(crate) const MOUNT: Table = &[
    ("bind", Now),
    ("consistency", Now),
    (
        "image",
        No("images are not mounted", "copy the files in an image of your own, or use a volume"),
    ),
    ("read_only", Now),
    ("source", Now),
    ("target", Now),
    ("tmpfs", Now),
    ("type", Now),
    ("volume", Now),
];

/// Keys of `bind` there.
pub(crate) const MOUNT_BIND: Table = &[
    ("create_host_path", Now),
    ("propagation", No("nothing is mounted after the start", "leave it out")),
    ("recursive", No("the app directory has no mounts", "leave it out")),
    ("selinux", No("the guest has no SELinux", "leave it out")),
];

/// Keys of `volume` there.
pub(crate) const MOUNT_VOLUME: Table =
    &[("labels", No("volumes have no labels", "leave it out")), ("nocopy", Now), ("subpath", Now)];

/// Keys of `tmpfs` there.
pub(crate) const MOUNT_TMPFS: Table = &[("mode", Now), ("size", Now)];

/// Keys of `healthcheck`.
pub(crate) const HEALTHCHECK: Table = &[
    ("disable", Now),
    ("interval", Now),
    ("retries", Now),
    ("start_interval", Now),
    ("start_period", Now),
    ("test", Now),
    ("timeout", Now),
];

/// Keys of `deploy`.
pub(crate) const DEPLOY: Table = &[
    ("endpoint_mode", Note("the name of a service gives the addresses of all its containers")),
    ("labels", Now),
    ("mode", Now),
    ("placement", ONE_GUEST),
    ("replicas", Now),
    ("resources", Now),
    ("restart_policy", Now),
    ("rollback_config", ONE_GUEST),
    ("update_config", ONE_GUEST),
];

/// Keys of `deploy.resources`.
pub(crate) const DEPLOY_RESOURCES: Table = &[("limits", Now), ("reservations", Now)];

/// Keys of `deploy.resources.limits`.
pub(crate) const DEPLOY_LIMITS: Table = &[("cpus", Now), ("memory", Now), ("pids", Now)];

/// Keys of `deploy.resources.reservations`.
pub(crate) const DEPLOY_RESERVATIONS: Table = &[
    ("cpus", Note("processors are shared, not reserved")),
    ("devices", No("the guest has no GPU", "leave it out")),
    ("generic_resources", No("the guest has none", "leave it out")),
    ("memory", Now),
];

/// Keys of `deploy.restart_policy`.
pub(crate) const RESTART_POLICY: Table =
    &[("condition", Now), ("delay", Now), ("max_attempts", Now), ("window", Now)];

/// Keys of the long form of one entry under `env_file`.
pub(crate) const ENV_FILE: Table = &[("format", Now), ("path", Now), ("required", Now)];

/// Keys of the long form of one entry under `configs` or `secrets` of a service.
pub(crate) const GRANT: Table =
    &[("gid", Now), ("mode", Now), ("source", Now), ("target", Now), ("uid", Now)];

/// Keys of the long form of one limit under `ulimits`.
pub(crate) const ULIMIT: Table = &[("hard", Now), ("soft", Now)];

/// Keys of a network.
pub(crate) const NETWORK: Table = &[
    ("attachable", Now),
    ("driver", Now),
    ("driver_opts", ONE_DRIVER),
    ("enable_ipv4", Now),
    ("enable_ipv6", Now),
    ("external", Now),
    ("internal", Now),
    ("ipam", Now),
    ("labels", Now),
    ("name", Now),
];

/// Keys of `external` of a network where it is a mapping.
pub(crate) const EXTERNAL: Table = &[("name", Now)];

/// Keys of `ipam` of a network.
pub(crate) const IPAM: Table = &[("config", Now), ("driver", Now), ("options", ONE_DRIVER)];

/// Keys of one entry under `ipam.config`.
pub(crate) const IPAM_CONFIG: Table =
    &[("aux_addresses", USE_SUBNET), ("gateway", Now), ("ip_range", USE_SUBNET), ("subnet", Now)];

/// Keys of a volume.
pub(crate) const VOLUME: Table = &[
    ("driver", Now),
    ("driver_opts", ONE_DRIVER),
    ("external", ELSEWHERE),
    ("labels", Now),
    ("name", Now),
];

/// Keys of a secret.
pub(crate) const SECRET: Table = &[
    ("driver", ONE_DRIVER),
    ("driver_opts", ONE_DRIVER),
    ("environment", Now),
    ("external", ELSEWHERE),
    ("file", Now),
    ("labels", Now),
    ("name", Now),
    ("template_driver", NO_TEMPLATE),
];

/// Keys of a configuration.
pub(crate) const CONFIG: Table = &[
    ("content", Now),
    ("environment", Now),
    ("external", ELSEWHERE),
    ("file", Now),
    ("labels", Now),
    ("name", Now),
    ("template_driver", NO_TEMPLATE),
];
