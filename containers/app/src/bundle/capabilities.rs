//! Which capabilities a container holds: Docker's default, less and more as the service says.

use std::str::FromStr;

use oci_spec::OciSpecError;
use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, LinuxCapabilitiesBuilder};

use compose::model::Privileges;

/// What root in a container has: Docker's fourteen (moby, `daemon/pkg/oci/caps/defaults.go`).
const DEFAULT: [Capability; 14] = [
    Capability::AuditWrite,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Mknod,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysChroot,
];

/// All that Linux has, `capabilities(7)`.
const ALL: [Capability; 41] = [
    Capability::AuditControl,
    Capability::AuditRead,
    Capability::AuditWrite,
    Capability::BlockSuspend,
    Capability::Bpf,
    Capability::CheckpointRestore,
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::Kill,
    Capability::Lease,
    Capability::LinuxImmutable,
    Capability::MacAdmin,
    Capability::MacOverride,
    Capability::Mknod,
    Capability::NetAdmin,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetRaw,
    Capability::Perfmon,
    Capability::Setfcap,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Setuid,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysChroot,
    Capability::SysModule,
    Capability::SysNice,
    Capability::SysPacct,
    Capability::SysPtrace,
    Capability::SysRawio,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Syslog,
    Capability::WakeAlarm,
];

/// What root in the container holds, and nobody in it can exceed.
pub(super) fn held(privileges: &Privileges) -> Result<Capabilities, UnknownCapability> {
    if privileges.privileged {
        return Ok(ALL.into_iter().collect());
    }
    let mut held: Capabilities = match all(&privileges.cap_drop) {
        true => Capabilities::new(),
        false => DEFAULT.into_iter().collect(),
    };
    for name in privileges.cap_drop.iter().filter(|name| *name != "ALL") {
        held.remove(&parse(name)?);
    }
    if all(&privileges.cap_add) {
        held.extend(ALL);
    }
    for name in privileges.cap_add.iter().filter(|name| *name != "ALL") {
        held.insert(parse(name)?);
    }
    Ok(held)
}

/// Whether a service adds what Docker does not give by default.
pub(super) fn beyond_default(privileges: &Privileges) -> bool {
    privileges
        .cap_add
        .iter()
        .any(|name| !parse(name).is_ok_and(|capability| DEFAULT.contains(&capability)))
}

/// The sets of a process: nothing is inherited or ambient. The helper takes them from a user other
/// than root.
pub(super) fn sets(held: Capabilities) -> Result<LinuxCapabilities, OciSpecError> {
    LinuxCapabilitiesBuilder::default()
        .bounding(held.clone())
        .effective(held.clone())
        .permitted(held)
        .inheritable(Capabilities::new())
        .ambient(Capabilities::new())
        .build()
}

fn all(names: &[String]) -> bool {
    names.iter().any(|name| name == "ALL")
}

fn parse(name: &str) -> Result<Capability, UnknownCapability> {
    Capability::from_str(name).map_err(|_| UnknownCapability(name.to_owned()))
}

/// capability … is unknown
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("capability {0:?} is unknown")]
pub struct UnknownCapability(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    fn privileges(add: &[&str], drop: &[&str]) -> Privileges {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        Privileges { cap_add: names(add), cap_drop: names(drop), ..Privileges::default() }
    }

    #[test]
    fn what_is_dropped_and_added_is_held() {
        let count =
            |add: &[&str], drop: &[&str]| held(&privileges(add, drop)).expect("known").len();
        assert_eq!(count(&[], &[]), 14);
        assert_eq!(count(&[], &["ALL"]), 0);
        assert_eq!(count(&["CHOWN"], &["ALL"]), 1);
        assert_eq!(count(&["CHOWN"], &["CHOWN", "NET_RAW"]), 13);
        assert_eq!(count(&["NET_ADMIN"], &[]), 15);
        assert_eq!(count(&["ALL"], &["CHOWN"]), 41);
        assert_eq!(held(&privileges(&["NOPE"], &[])), Err(UnknownCapability("NOPE".into())));
        let privileged = Privileges { privileged: true, ..privileges(&[], &["ALL"]) };
        assert_eq!(held(&privileged).expect("known").len(), 41);
    }

    #[test]
    fn every_capability_has_a_name_and_the_default_is_told_apart() {
        for capability in ALL {
            let name = capability.to_string();
            let name = name.strip_prefix("CAP_").unwrap_or(&name);
            assert_eq!(parse(name), Ok(capability));
            assert_eq!(
                beyond_default(&privileges(&[name], &[])),
                !DEFAULT.contains(&capability),
                "{name}"
            );
        }
        assert!(beyond_default(&privileges(&["ALL"], &[])));
        assert!(!beyond_default(&privileges(&[], &["ALL"])));
    }
}
