//! One service, put together from its sections.

use super::attachments::{self, Link};
use super::definitions::Definitions;
use super::environment;
use super::field::{Field, Findings, Section};
use super::image;
use super::keys::{self, SERVICE};
use super::lifecycle;
use super::model::{Health, Program, Service};
use super::mounts;
use super::ports;
use super::privileges;
use super::process;
use super::program;
use super::refusal::Cause;
use super::resources;
use super::scalar;

/// All containers of an app; each costs a process, a namespace and an address.
pub(super) const MAX_REPLICAS: u16 = 64;
/// What may run, in words.
const PLATFORMS: &str = "a guest runs linux/amd64, and wasi/wasm in the sandbox of Pads";

/// A service as it is written, and when it counts.
pub(super) struct Written<'a> {
    /// What it is; `None` if it has no image that can be run, or is a program.
    pub service: Option<Service>,
    /// What it is if it is a program, which is never started.
    pub program: Option<Program>,
    /// Whether it says that it is a program, even if it cannot be one.
    pub is_program: bool,
    /// Other services that it wants to find by names of its own.
    pub links: Vec<Link>,
    /// Profiles that it belongs to; always active if there is none.
    pub profiles: Vec<String>,
    /// Where it stands.
    pub section: Section<'a>,
    /// Its name.
    pub name: &'a str,
}

/// Reads the service `name`.
pub(super) fn read<'a>(
    name: &'a str,
    field: &Field<'a>,
    defined: &Definitions,
    findings: &mut Findings<'_>,
) -> Option<Written<'a>> {
    check_name(name, field, findings);
    let section = field.section(SERVICE, findings)?;
    let profiles = section.read("profiles", findings, profiles).unwrap_or_default();
    if program::is_one(&section, findings) {
        let program = program::read(name, &section, findings);
        let links = Vec::new();
        let (service, is_program) = (None, true);
        return Some(Written { service, program, is_program, links, profiles, section, name });
    }
    let links = section.read("links", findings, attachments::links).unwrap_or_default();
    let service = body(name, &section, defined, findings);
    let (program, is_program) = (None, false);
    Some(Written { service, program, is_program, links, profiles, section, name })
}

fn body(
    name: &str,
    section: &Section<'_>,
    defined: &Definitions,
    findings: &mut Findings<'_>,
) -> Option<Service> {
    let image = image::named(section, findings);
    let deploy = section.section("deploy", keys::DEPLOY, findings);
    let deploy = deploy.as_ref();
    without_effect(section, deploy, findings);
    let labels = section.read("labels", findings, environment::labels);
    Some(Service {
        name: name.to_owned(),
        line: section.field.line,
        replicas: replicas(section, deploy, findings),
        process: process::read(section, findings),
        privileges: privileges::read(section, findings),
        resources: resources::read(section, deploy, findings),
        mounts: mounts::read(section, defined, findings),
        read_only: section.read("read_only", findings, scalar::boolean).unwrap_or_default(),
        network: attachments::read(section, defined, findings),
        names: attachments::names(section, findings),
        ports: section.read("ports", findings, ports::read).unwrap_or_default(),
        depends_on: section.read("depends_on", findings, lifecycle::depends_on).unwrap_or_default(),
        health: section.read("healthcheck", findings, lifecycle::health).unwrap_or(Health::Image),
        restart: lifecycle::restart(section, deploy, findings),
        stop: lifecycle::stop(section, findings),
        logging: lifecycle::logging(section, findings),
        labels: labels.unwrap_or_default(),
        // Last, so that without an image everything else is still read and its mistakes are told.
        image: image?,
    })
}

/// A name that is a host name too: the compose specification allows more, DNS does not.
fn check_name(name: &str, field: &Field<'_>, findings: &mut Findings<'_>) {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let valid = name.len() <= 63
        && name.bytes().all(inner)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric());
    if !valid {
        let rule =
            "1 to 63 letters, digits, dots, dashes or underscores, a letter or digit at each end";
        field.invalid::<()>("service name", name, rule, findings);
    }
}

fn profiles(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for item in field.items(findings) {
        let text = item.text(findings)?;
        if !super::definitions::is_name(&text) {
            return item.invalid(
                "profile",
                &text,
                "letters, digits, dots, dashes and underscores",
                findings,
            );
        }
        names.push(text);
    }
    Some(names)
}

/// Keys that are checked and change nothing.
fn without_effect(
    service: &Section<'_>,
    deploy: Option<&Section<'_>>,
    findings: &mut Findings<'_>,
) {
    if let Some(field) = service.get("expose") {
        ports::expose(&field, findings);
    }
    service.read("platform", findings, |field, findings| match field.text(findings)?.as_str() {
        text if is_platform(text) => Some(()),
        other => field.invalid("platform", other, PLATFORMS, findings),
    });
    service.read("runtime", findings, runtime);
    image::pull_policy(service, findings);
    let Some(deploy) = deploy else { return };
    if let Some(field) = deploy.get("labels") {
        findings.note(&field, "changes nothing: labels of the service itself stand under labels");
    }
    deploy.read("mode", findings, |field, findings| match field.text(findings)?.as_str() {
        "replicated" => Some(()),
        "global" => {
            findings.note(field, "one container: the guest is the only host");
            Some(())
        }
        other => field.invalid("mode", other, "replicated or global", findings),
    });
}

fn runtime(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<()> {
    match field.text(findings)?.as_str() {
        "runc" | "io.containerd.runc.v2" => {
            findings.note(field, "changes nothing: the guest has one runtime");
            Some(())
        }
        name => {
            let hint = match name.contains("wasm") {
                true => "leave it out; a program for the sandbox of Pads has platform: wasi/wasm",
                false => "leave it out",
            };
            let reason = "the guest has one runtime";
            findings.refuse(field, Cause::Unsupported { reason, hint })
        }
    }
}

/// `linux/amd64`, whatever version of it: an image that needs another processor ends by itself.
fn is_platform(text: &str) -> bool {
    matches!(text, "linux/amd64" | "linux/x86_64")
        || matches!(text.strip_prefix("linux/amd64/"), Some("v1" | "v2" | "v3" | "v4"))
}

fn replicas(
    service: &Section<'_>,
    deploy: Option<&Section<'_>>,
    findings: &mut Findings<'_>,
) -> u16 {
    let field = resources::once(
        service.get("scale"),
        deploy.and_then(|deploy| deploy.get("replicas")),
        findings,
    );
    let fits = |replicas: u16| replicas <= MAX_REPLICAS;
    field
        .and_then(|field| scalar::number(&field, findings, fits, "a number from 0 to 64"))
        .unwrap_or(1)
}
