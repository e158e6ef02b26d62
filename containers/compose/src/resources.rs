//! How much of the guest a service may use: Docker's own keys, and the same under
//! `deploy.resources`.

use super::field::{Field, Findings, Section};
use super::keys::{self, Table};
use super::model::Resources;
use super::refusal::Cause;
use super::scalar;

/// Docker's own least: a container does not start in less.
const MIN_MEMORY_BYTES: u64 = 6 << 20;
/// More processors than any guest has.
const MAX_CPU_MILLIS: u64 = 1024 * 1000;
/// Limits of a process as the kernel names them (`getrlimit(2)`).
const ULIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

pub(super) fn read(
    service: &Section<'_>,
    deploy: Option<&Section<'_>>,
    findings: &mut Findings<'_>,
) -> Resources {
    let resources =
        deploy.and_then(|deploy| deploy.section("resources", keys::DEPLOY_RESOURCES, findings));
    let mut below = |name: &str, table: Table| {
        resources.as_ref().and_then(|it| it.section(name, table, findings))
    };
    let limits = below("limits", keys::DEPLOY_LIMITS);
    let reserved = below("reservations", keys::DEPLOY_RESERVATIONS);
    let memory_bytes = both(service, "mem_limit", limits.as_ref(), "memory", findings)
        .and_then(|f| memory(&f, findings));
    service.read("memswap_limit", findings, |field, findings| swap(field, memory_bytes, findings));
    let reservation = both(service, "mem_reservation", reserved.as_ref(), "memory", findings);
    Resources {
        memory_bytes,
        memory_reservation_bytes: reservation
            .and_then(|field| below_limit(&field, memory_bytes, findings)),
        cpu_millis: both(service, "cpus", limits.as_ref(), "cpus", findings)
            .and_then(|field| cpus(&field, findings)),
        cpu_shares: service.read("cpu_shares", findings, |field, findings| {
            scalar::number(
                field,
                findings,
                |shares| (2..=262_144).contains(&shares),
                "a number from 2 to 262144",
            )
        }),
        cpuset: service.read("cpuset", findings, cpuset),
        pids: both(service, "pids_limit", limits.as_ref(), "pids", findings)
            .and_then(|field| pids(&field, findings)),
        shm_bytes: service.read("shm_size", findings, scalar::bytes),
        ulimits: service.read("ulimits", findings, ulimits).unwrap_or_default(),
        oom_score_adj: service.read("oom_score_adj", findings, oom_score),
    }
}

/// The key `name` of the service, or `other_name` of the section below `deploy` that says the same.
fn both<'a>(
    service: &Section<'a>,
    name: &str,
    other: Option<&Section<'a>>,
    other_name: &str,
    findings: &mut Findings<'_>,
) -> Option<Field<'a>> {
    once(service.get(name), other.and_then(|section| section.get(other_name)), findings)
}

/// The one of two keys that is there; both are refused, even if they say the same.
pub(super) fn once<'a>(
    own: Option<Field<'a>>,
    deploy: Option<Field<'a>>,
    findings: &mut Findings<'_>,
) -> Option<Field<'a>> {
    match (own, deploy) {
        (Some(own), Some(_)) => {
            let cause =
                Cause::Conflict { with: "the same under deploy", why: "write it in one place" };
            findings.refuse(&own, cause)
        }
        (own, deploy) => own.or(deploy),
    }
}

fn memory(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<u64> {
    match scalar::bytes(field, findings)? {
        bytes if bytes >= MIN_MEMORY_BYTES => Some(bytes),
        bytes => field.invalid("memory limit", &bytes.to_string(), "at least 6m", findings),
    }
}

/// Memory and swap together: what equals the memory limit asks for no swap.
fn swap(field: &Field<'_>, limit: Option<u64>, findings: &mut Findings<'_>) -> Option<()> {
    let text = field.text(findings)?;
    if limit.is_some() && scalar::size(&text, 1024) == limit {
        findings.note(field, "changes nothing: the guest has no swap");
        return Some(());
    }
    let reason = "the guest has no swap";
    let hint = "leave it out, or write the value of mem_limit; that bounds all memory";
    findings.refuse(field, Cause::Unsupported { reason, hint })
}

fn below_limit(field: &Field<'_>, limit: Option<u64>, findings: &mut Findings<'_>) -> Option<u64> {
    let bytes = scalar::bytes(field, findings)?;
    if limit.is_some_and(|limit| bytes > limit) {
        let why = "what is reserved is at most the limit";
        return findings.refuse(field, Cause::Conflict { with: "the memory limit", why });
    }
    Some(bytes)
}

fn cpus(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<u32> {
    let text = field.text(findings)?;
    match scalar::thousandths(&text) {
        Some(millis @ 1..=MAX_CPU_MILLIS) => u32::try_from(millis).ok(),
        _ => field.invalid(
            "number of processors",
            &text,
            "0.001 to 1024, at most three digits after the point",
            findings,
        ),
    }
}

/// `0-1,3`
fn cpuset(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<String> {
    let text = field.text(findings)?;
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(first), Ok(last)) if first <= last && last < 1024)
    };
    let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b','));
    if !plain || !text.split(',').all(range) {
        return field.invalid(
            "list of processors",
            &text,
            "numbers from 0 to 1023 and ranges, such as 0-1,3",
            findings,
        );
    }
    Some(text)
}

/// -1 and 0 are no limit, as Docker has it.
fn pids(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<u64> {
    let number: i64 =
        scalar::number(field, findings, |pids| pids >= -1, "a number from 1, or -1 for no limit")?;
    u64::try_from(number).ok().filter(|pids| *pids > 0)
}

fn oom_score(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<i32> {
    let fits = |score: i32| (-1000..=1000).contains(&score);
    let score = scalar::number(field, findings, fits, "a number from -1000 to 1000")?;
    if score < 0 {
        findings.danger(field, "other processes of the guest are ended before it");
    }
    Some(score)
}

fn ulimits(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<Vec<(String, u64, u64)>> {
    let mut limits = Vec::new();
    for (name, field) in field.entries(findings) {
        if !ULIMITS.contains(&name) {
            field.invalid::<()>("limit", name, "one of getrlimit(2), such as nofile", findings);
        } else if let Some((soft, hard)) = ulimit(&field, findings) {
            limits.push((name.to_owned(), soft, hard));
        }
    }
    Some(limits)
}

fn ulimit(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<(u64, u64)> {
    let value = |field: &Field<'_>, findings: &mut Findings<'_>| {
        let number: i64 = scalar::number(
            field,
            findings,
            |limit| limit >= -1,
            "a number from 0, or -1 for no limit",
        )?;
        Some(u64::try_from(number).unwrap_or(u64::MAX))
    };
    if matches!(field.node.value, super::document::Value::Scalar { .. }) {
        return value(field, findings).map(|limit| (limit, limit));
    }
    let section = field.section(keys::ULIMIT, findings)?;
    let (soft, hard) =
        (section.required("soft", findings, value), section.required("hard", findings, value));
    match (soft?, hard?) {
        (soft, hard) if soft <= hard => Some((soft, hard)),
        (soft, _) => {
            field.invalid("soft limit", &soft.to_string(), "at most the hard one", findings)
        }
    }
}
