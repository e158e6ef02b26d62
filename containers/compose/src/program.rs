//! A service that is a program for the sandbox of Pads and no container: `platform: wasi/wasm`.
//!
//! The sandbox gives a program the Pads of a run and nothing else, so every key that describes a
//! container is refused by name. What the file says of a program is which one it is.

use std::collections::HashSet;

use super::environment;
use super::field::{Findings, Section};
use super::image;
use super::keys::{SERVICE, Support};
use super::model::Program;
use super::refusal::Cause;

/// How compose files mark services that are WebAssembly (OCI platforms, as `GOOS/GOARCH`).
pub(super) const PLATFORM: &str = "wasi/wasm";

/// Keys that say which program it is, or when it counts.
const TAKEN: [&str; 5] = ["image", "labels", "platform", "profiles", "pull_policy"];

/// Names of programs, which no service can wait for or be joined with.
pub(super) type Programs<'a> = HashSet<&'a str>;

/// Keys of a container by what the sandbox does instead.
const REASONS: [(&str, &str, &[&str]); 5] = [
    (
        "a program for the sandbox of Pads has no network",
        "leave it out; a service of its own answers requests and submits runs",
        &[
            "container_name",
            "dns",
            "dns_opt",
            "dns_search",
            "domainname",
            "expose",
            "extra_hosts",
            "hostname",
            "links",
            "network_mode",
            "networks",
            "ports",
        ],
    ),
    (
        "a program for the sandbox of Pads is given the Pads and the plain input of a run alone",
        "leave it out; put settings into the program or the plain input",
        &[
            "command",
            "configs",
            "entrypoint",
            "env_file",
            "environment",
            "secrets",
            "tmpfs",
            "volumes",
            "working_dir",
        ],
    ),
    (
        "a program for the sandbox of Pads is started by runs alone",
        "leave it out; a service of its own submits runs",
        &[
            "depends_on",
            "deploy",
            "healthcheck",
            "init",
            "restart",
            "scale",
            "stop_grace_period",
            "stop_signal",
        ],
    ),
    (
        "a program for the sandbox of Pads can write nothing that would leave it",
        "leave it out",
        &["logging", "stdin_open", "tty"],
    ),
    ("the sandbox of Pads runs it", "leave it out", &["runtime"]),
];

/// Whether the service says that it is a program.
pub(super) fn is_one(section: &Section<'_>, findings: &mut Findings<'_>) -> bool {
    let platform = section.read("platform", findings, |field, findings| field.text(findings));
    platform.as_deref() == Some(PLATFORM)
}

/// Reads the program `name`.
pub(super) fn read(
    name: &str,
    section: &Section<'_>,
    findings: &mut Findings<'_>,
) -> Option<Program> {
    for (key, support) in SERVICE {
        if let (Support::Now, false, Some(field)) = (support, TAKEN.contains(key), section.get(key))
        {
            let (reason, hint) = reason(key);
            findings.refuse::<()>(&field, Cause::Unsupported { reason, hint });
        }
    }
    image::pull_policy(section, findings);
    let labels = section.read("labels", findings, environment::labels).unwrap_or_default();
    let image = image::named(section, findings)?;
    Some(Program { name: name.to_owned(), line: section.field.line, image, labels })
}

/// Why the service `name`, which is not among those that run, cannot be named.
pub(super) fn no_service(name: String, programs: &Programs<'_>) -> Cause {
    match programs.contains(name.as_str()) {
        true => Cause::IsProgram(name),
        false => Cause::Undefined { what: "service", name },
    }
}

fn reason(key: &str) -> (&'static str, &'static str) {
    let of_key = REASONS.iter().find(|(_, _, keys)| keys.contains(&key));
    of_key.map_or(
        (
            "a program for the sandbox of Pads is no container, and each run has limits",
            "leave it out",
        ),
        |(reason, hint, _)| (*reason, *hint),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_with_a_reason_is_one_of_a_container() {
        for key in REASONS.iter().flat_map(|(_, _, keys)| *keys).chain(&TAKEN) {
            let known = SERVICE.iter().find(|(name, _)| name == key);
            assert!(matches!(known, Some((_, Support::Now))), "{key}");
        }
    }
}
