//! Capabilities by name, and which of them Docker gives to everybody.

use super::field::{Field, Findings};

/// Docker's default (moby, `oci/caps/defaults.go`): adding them again weakens nothing.
const DEFAULT: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// All others of `capabilities(7)`.
const FURTHER: [&str; 27] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "DAC_READ_SEARCH",
    "IPC_LOCK",
    "IPC_OWNER",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "NET_ADMIN",
    "NET_BROADCAST",
    "PERFMON",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// `cap_add`: names beyond the default are a danger.
pub(super) fn added(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<Vec<String>> {
    Some(read(field, findings, |name, item, findings| {
        if !DEFAULT.contains(&name) {
            findings.danger(item, &format!("the capability {name} is beyond Docker's default"));
        }
    }))
}

/// `cap_drop`: every name may be dropped.
pub(super) fn dropped(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<Vec<String>> {
    Some(read(field, findings, |_, _, _| {}))
}

fn read(
    field: &Field<'_>,
    findings: &mut Findings<'_>,
    each: impl Fn(&str, &Field<'_>, &mut Findings<'_>),
) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for item in field.items(findings) {
        let Some(text) = item.text(findings) else { continue };
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if name != "ALL" && !DEFAULT.contains(&name) && !FURTHER.contains(&name) {
            item.invalid::<()>("capability", &text, "a name of capabilities(7) or ALL", findings);
            continue;
        }
        each(name, &item, findings);
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    if names.iter().any(|name| name == "ALL") { vec!["ALL".to_owned()] } else { names }
}
