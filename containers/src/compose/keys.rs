//! Every key of the compose specification that a section may hold, and whether this version runs it.
//!
//! The tables are compared with the specification's own JSON schema in a test, so that a key is *unknown*
//! only if the specification has none of that name. A key moves from `NotYet` to `Now` when a section
//! reads it; nothing is ever ignored.

use super::document::Entry;
use super::refusal::{Cause, KeyPath, Refusals};

/// What this version does with a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Support {
    /// A section reads it.
    Now,
    /// It is refused today.
    NotYet,
    /// It is refused today; this helps meanwhile.
    NotYetBut(&'static str),
    /// It will be refused always: the reason, and the alternative.
    Never(&'static str, &'static str),
}

use Support::{Never, NotYet, NotYetBut, Now};

/// The keys of one kind of mapping.
pub(super) type Table = &'static [(&'static str, Support)];

const DEPLOY_LATER: Support = NotYetBut("each service runs once, without limits of its own");
const HOST_NAMESPACE: Support = NotYetBut("each service has namespaces of its own");
const WINDOWS: Support = Never("it exists on Windows only", "leave it out");
const NO_DAEMON: Support = Never("there is no container daemon in the guest", "leave it out");
const NETWORK_LATER: Support = NotYetBut("all services share one network, each known by its name");
const FILES_LATER: Support = NotYetBut("put the files into the image");

/// Keys of the file.
pub(super) const TOP: Table = &[
    ("configs", FILES_LATER),
    ("include", Never("the measured file must be whole", "copy the included services into it")),
    ("models", Never("no model runner is in the guest", "run the model as a service")),
    ("name", Now),
    ("networks", NETWORK_LATER),
    ("secrets", FILES_LATER),
    ("services", Now),
    ("version", NotYetBut("leave it out; the compose specification no longer uses it")),
    ("volumes", NotYetBut("data lives as long as the container")),
];

/// Keys of one service.
pub(super) const SERVICE: Table = &[
    ("annotations", NotYet),
    ("attach", NotYet),
    ("blkio_config", DEPLOY_LATER),
    ("build", Never("nothing is built in the guest", "build the image elsewhere, push it, and name it by digest")),
    ("cap_add", NotYetBut("Docker's default capabilities are given, but MKNOD")),
    ("cap_drop", NotYet),
    ("cgroup", HOST_NAMESPACE),
    ("cgroup_parent", NO_DAEMON),
    ("command", Now),
    ("configs", FILES_LATER),
    ("container_name", NotYetBut("a service is known by its name")),
    ("cpu_count", WINDOWS),
    ("cpu_percent", WINDOWS),
    ("cpu_period", DEPLOY_LATER),
    ("cpu_quota", DEPLOY_LATER),
    ("cpu_rt_period", DEPLOY_LATER),
    ("cpu_rt_runtime", DEPLOY_LATER),
    ("cpu_shares", DEPLOY_LATER),
    ("cpus", DEPLOY_LATER),
    ("cpuset", DEPLOY_LATER),
    ("credential_spec", WINDOWS),
    ("depends_on", NotYetBut("services start together, in the order of the file")),
    ("deploy", DEPLOY_LATER),
    ("develop", Never("the measured file is not for development", "leave it out")),
    ("device_cgroup_rules", NotYet),
    ("devices", NotYet),
    ("dns", NETWORK_LATER),
    ("dns_opt", NETWORK_LATER),
    ("dns_search", NETWORK_LATER),
    ("domainname", NotYet),
    ("entrypoint", Now),
    ("env_file", NotYetBut("write the variables under environment")),
    ("environment", Now),
    ("expose", NotYetBut("leave it out: services reach each other on every port")),
    ("extends", NotYetBut("use a YAML anchor and a merge key (<<) instead")),
    ("external_links", Never("there are no containers beside the app's", "leave it out")),
    ("extra_hosts", NETWORK_LATER),
    ("gpus", NotYet),
    ("group_add", NotYet),
    ("healthcheck", NotYet),
    ("hostname", NotYetBut("the host name is the service's name")),
    ("image", Now),
    ("init", NotYet),
    ("ipc", HOST_NAMESPACE),
    ("isolation", WINDOWS),
    ("label_file", NotYet),
    ("labels", NotYet),
    ("links", NotYetBut("leave it out: services know each other by name")),
    ("logging", NotYetBut("logs are kept and rotated without it")),
    ("mac_address", NETWORK_LATER),
    ("mem_limit", DEPLOY_LATER),
    ("mem_reservation", DEPLOY_LATER),
    ("mem_swappiness", DEPLOY_LATER),
    ("memswap_limit", DEPLOY_LATER),
    ("models", Never("no model runner is in the guest", "run the model as a service")),
    ("network_mode", NETWORK_LATER),
    ("networks", NETWORK_LATER),
    ("oom_kill_disable", DEPLOY_LATER),
    ("oom_score_adj", DEPLOY_LATER),
    ("pid", HOST_NAMESPACE),
    ("pids_limit", DEPLOY_LATER),
    ("platform", NotYetBut("images are run for linux/amd64")),
    ("ports", Now),
    ("post_start", NotYet),
    ("pre_stop", NotYet),
    ("privileged", NotYet),
    ("profiles", NotYet),
    ("provider", Never("no provider runs in the guest", "run a service of its own")),
    ("pull_policy", NotYetBut("an image is fetched if it is not there")),
    ("pull_refresh_after", NotYet),
    ("read_only", NotYet),
    ("restart", NotYetBut("a service that ends stays ended")),
    ("runtime", NO_DAEMON),
    ("scale", DEPLOY_LATER),
    ("secrets", FILES_LATER),
    ("security_opt", NotYetBut("no-new-privileges and seccomp are always on")),
    ("shm_size", NotYet),
    ("stdin_open", NotYet),
    ("stop_grace_period", NotYet),
    ("stop_signal", NotYetBut("the image's STOPSIGNAL is honoured")),
    ("storage_opt", NO_DAEMON),
    ("sysctls", NotYet),
    ("tmpfs", NotYet),
    ("tty", NotYet),
    ("ulimits", DEPLOY_LATER),
    ("use_api_socket", NO_DAEMON),
    ("user", NotYetBut("the image's USER is honoured")),
    ("userns_mode", HOST_NAMESPACE),
    ("uts", HOST_NAMESPACE),
    ("volumes", NotYetBut("data lives as long as the container")),
    ("volumes_from", NotYet),
    ("working_dir", NotYetBut("the image's WORKDIR is honoured")),
];

/// Keys of the long form of one entry under `ports`.
pub(super) const PORT: Table = &[
    ("app_protocol", NotYet),
    ("host_ip", Now),
    ("mode", NotYetBut("leave it out: the guest is the only host")),
    ("name", NotYet),
    ("protocol", Now),
    ("published", Now),
    ("target", Now),
];

/// Refuses each key of `entries` that `table` does not have, or has as unsupported; `x-` keys pass.
pub(super) fn check(entries: &[Entry], table: Table, path: &KeyPath, refusals: &mut Refusals) {
    for entry in entries {
        if entry.key.starts_with("x-") {
            continue;
        }
        let known = table.iter().find(|(name, _)| *name == entry.key);
        let cause = match known.map(|(_, support)| *support) {
            Some(Now) => continue,
            Some(NotYet) => Cause::NotYet { hint: None },
            Some(NotYetBut(hint)) => Cause::NotYet { hint: Some(hint) },
            Some(Never(reason, hint)) => Cause::Never { reason, hint: Some(hint) },
            None => Cause::UnknownKey,
        };
        refusals.add(&path.key(&entry.key), entry.line, cause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The specification's own schema, so that its keys are never called unknown.
    const SCHEMA: &str = include_str!("../../../tests/vectors/compose/compose-spec.json");

    fn same(table: Table, schema: &serde_json::Value) {
        let ours: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
        let mut theirs: Vec<&str> = schema.as_object().expect("properties").keys().map(String::as_str).collect();
        theirs.sort_unstable();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn tables_have_the_keys_of_the_schema() {
        let schema: serde_json::Value = serde_json::from_str(SCHEMA).expect("schema");
        let service = &schema["definitions"]["service"]["properties"];
        same(TOP, &schema["properties"]);
        same(SERVICE, service);
        same(PORT, &service["ports"]["items"]["oneOf"][2]["properties"]);
    }
}
