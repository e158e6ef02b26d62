//! Where in a container something is mounted: any place that is not the guest's own business.

use super::app_directory;
use super::field::{Field, Findings};
use super::refusal::Cause;

/// Files that the guest writes for each container, and what decides their content.
const NETWORK_FILES: [(&str, &str); 3] = [
    ("/etc/hosts", "use extra_hosts"),
    ("/etc/hostname", "use hostname"),
    ("/etc/resolv.conf", "use dns"),
];

/// A target that is not the guest's own business.
pub(super) fn target(text: &str, field: &Field<'_>, findings: &mut Findings<'_>) -> Option<String> {
    let target = app_directory::target(text, field, findings)?;
    let of_kernel = ["/proc", "/sys"].iter().any(|directory| {
        target.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    if of_kernel || matches!(target.as_str(), "/" | "/dev") {
        return field.invalid(
            "target",
            &target,
            "a place below /, outside /proc and /sys, and not /dev itself",
            findings,
        );
    }
    if let Some((_, hint)) = NETWORK_FILES.iter().find(|(file, _)| *file == target) {
        let reason = "the guest writes this file";
        return findings.refuse(field, Cause::Unsupported { reason, hint });
    }
    Some(target)
}
