//! What a service may do beyond, or less than, the default; and what weakens its confinement.

use super::capabilities;
use super::document::Value;
use super::environment;
use super::field::{Field, Findings, Section};
use super::keys;
use super::model::{HostNamespace, Privileges};
use super::refusal::Cause;
use super::scalar;

/// Kernel parameters that belong to an IPC or network namespace (moby and runc allow the same).
const SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shm_rmid_forced",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
];
/// Devices that no container sees, whatever the measured file says: the guest's measurements, disk
/// and memory.
const GUARDED_DEVICES: [&str; 11] =
    ["tdx", "sev", "dm-", "mapper", "vd", "sd", "nvme", "mem", "kmem", "port", "loop"];

pub(super) fn read(service: &Section<'_>, findings: &mut Findings<'_>) -> Privileges {
    let privileged = service.read("privileged", findings, |field, findings| {
        let privileged = scalar::boolean(field, findings)?;
        if privileged {
            findings.danger(field, "everything is allowed to this service");
        }
        Some(privileged)
    });
    Privileges {
        cap_add: service.read("cap_add", findings, capabilities::added).unwrap_or_default(),
        cap_drop: service.read("cap_drop", findings, capabilities::dropped).unwrap_or_default(),
        privileged: privileged.unwrap_or_default(),
        seccomp_unconfined: service
            .read("security_opt", findings, security_options)
            .unwrap_or_default(),
        devices: service.read("devices", findings, devices).unwrap_or_default(),
        host_namespaces: host_namespaces(service, findings),
        sysctls: service.read("sysctls", findings, sysctls).unwrap_or_default(),
    }
}

/// Whether the system call filter is off; every other option is either always on or not there.
fn security_options(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<bool> {
    let mut unconfined = false;
    for item in field.items(findings) {
        let text = item.text(findings)?;
        let (name, value) = text.split_once([':', '=']).unwrap_or((&text, ""));
        let (reason, hint) = match (name, value) {
            ("no-new-privileges", "" | "true") => continue,
            ("seccomp", "unconfined") => {
                findings.danger(&item, "system calls of this service are not filtered");
                unconfined = true;
                continue;
            }
            ("no-new-privileges", "false") => {
                ("no program gains privileges when it is started", "leave it out")
            }
            ("seccomp", _) => {
                ("profiles do not travel with the app", "leave it out for Docker's default profile")
            }
            ("apparmor" | "label", _) => {
                ("the guest has no AppArmor and no SELinux", "leave it out")
            }
            ("systempaths", _) => ("masked paths stay masked", "leave it out"),
            _ => {
                item.invalid::<()>(
                    "security option",
                    &text,
                    "no-new-privileges, seccomp:unconfined",
                    findings,
                );
                continue;
            }
        };
        findings.refuse::<()>(&item, Cause::Unsupported { reason, hint });
    }
    Some(unconfined)
}

fn host_namespaces(service: &Section<'_>, findings: &mut Findings<'_>) -> Vec<HostNamespace> {
    let mut shared = Vec::new();
    for (key, namespace) in [
        ("pid", HostNamespace::Pid),
        ("ipc", HostNamespace::Ipc),
        ("uts", HostNamespace::Uts),
        ("userns_mode", HostNamespace::User),
        ("cgroup", HostNamespace::Cgroup),
    ] {
        let host = service.read(key, findings, |field, findings| {
            match (key, field.text(findings)?.as_str()) {
                (_, "host") => {
                    findings.danger(field, "a namespace of the guest is shared");
                    Some(())
                }
                ("ipc" | "cgroup", "private") => None,
                (_, other) => field.invalid(
                    "namespace",
                    other,
                    "leave it out for one of its own; host is the guest's",
                    findings,
                ),
            }
        });
        shared.extend(host.map(|()| namespace));
    }
    shared
}

fn sysctls(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<Vec<(String, String)>> {
    let missing = |name: &str, at: &Field<'_>, findings: &mut Findings<'_>| {
        at.invalid("kernel parameter", name, "NAME=value", findings)
    };
    let parameters = environment::list_or_mapping(field, findings, missing);
    for (name, _) in &parameters {
        let part = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
        };
        let known = SYSCTLS.contains(&name.as_str())
            || name.starts_with("net.")
            || name.starts_with("fs.mqueue.");
        if !known || !name.split('.').all(part) {
            let rule = "net.…, fs.mqueue.… and the System V parameters of kernel.…: others belong to the whole guest";
            field.invalid::<()>("kernel parameter of a container", name, rule, findings);
        }
    }
    Some(parameters)
}

fn devices(
    field: &Field<'_>,
    findings: &mut Findings<'_>,
) -> Option<Vec<(String, String, String)>> {
    Some(field.items(findings).iter().filter_map(|item| device(item, findings)).collect())
}

/// `source[:target[:permissions]]`, or the same by keys.
fn device(item: &Field<'_>, findings: &mut Findings<'_>) -> Option<(String, String, String)> {
    let (source, target, permissions) = if let Value::Mapping(_) = item.node.value {
        let section = item.section(keys::DEVICE, findings)?;
        let source = section.required("source", findings, Field::text)?;
        (
            source,
            section.read("target", findings, Field::text),
            section.read("permissions", findings, Field::text),
        )
    } else {
        let text = item.text(findings)?;
        let mut parts = text.splitn(3, ':').map(str::to_owned);
        (parts.next()?, parts.next(), parts.next())
    };
    let target = target.unwrap_or_else(|| source.clone());
    let permissions = permissions.unwrap_or_else(|| "rwm".to_owned());
    let node = |path: &str| {
        path.strip_prefix("/dev/")
            .is_some_and(|rest| rest.split('/').all(|p| !matches!(p, "" | "." | "..")))
    };
    let letters =
        (1..=3).contains(&permissions.len()) && permissions.bytes().all(|b| b"rwm".contains(&b));
    if !node(&source) || !node(&target) || !letters {
        let rule = "/dev/NODE, /dev/NODE:/dev/NODE or /dev/NODE:/dev/NODE:rwm";
        return item.invalid("device", &format!("{source}:{target}:{permissions}"), rule, findings);
    }
    if GUARDED_DEVICES.iter().any(|guarded| source["/dev/".len()..].starts_with(guarded)) {
        let reason = "no container sees the guest's measurements, disks or memory";
        return findings.refuse(
            item,
            Cause::Unsupported { reason, hint: "bind /var/run/dstack.sock for quotes" },
        );
    }
    findings.danger(item, "a device of the guest is given to this service");
    Some((source, target, permissions))
}
