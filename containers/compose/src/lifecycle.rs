//! When a service starts, how its health is found out, when it is started again, how it ends, and
//! what is kept of its output.

use super::document::Value;
use super::field::{Field, Findings, Section};
use super::keys;
use super::model::{
    Condition, Dependency, Health, HealthCheck, Logging, Restart, RestartWhen, Stop,
};
use super::refusal::Cause;
use super::resources::once;
use super::scalar;

/// What is kept without `logging`: two files, so that rotation never leaves nothing.
const DEFAULT_LOGGING: Logging = Logging { max_bytes: 4 << 20, max_files: 2, none: false };
/// Below it a file would be set aside for every few lines.
const MIN_LOG_BYTES: u64 = 4 << 10;
/// More files than a person looks through; each is a name in one directory.
const MAX_LOG_FILES: u32 = 100;
/// Signals by name (`signal(7)`), without SIG.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// `depends_on`: a list of names, or a mapping with conditions. Whether they are there is seen when
/// all services are read.
pub(super) fn depends_on(
    field: &Field<'_>,
    findings: &mut Findings<'_>,
) -> Option<Vec<Dependency>> {
    let mut needed: Vec<Dependency> = Vec::new();
    if let Value::Sequence(items) = &field.node.value {
        for item in field.list(items) {
            let service = item.text(findings)?;
            if needed.iter().any(|known| known.service == service) {
                return findings.refuse(&item, Cause::Twice(service));
            }
            needed.push(Dependency {
                service,
                condition: Condition::Started,
                restart: false,
                required: true,
            });
        }
        return Some(needed);
    }
    for (name, field) in field.entries(findings) {
        let Some(section) = field.section(keys::DEPENDENCY, findings) else { continue };
        let condition =
            section.read("condition", findings, condition).unwrap_or(Condition::Started);
        let restart = section.read("restart", findings, scalar::boolean).unwrap_or(false);
        let required = section.read("required", findings, scalar::boolean).unwrap_or(true);
        needed.push(Dependency { service: name.to_owned(), condition, restart, required });
    }
    Some(needed)
}

fn condition(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<Condition> {
    let rule = "service_started, service_healthy or service_completed_successfully";
    match field.text(findings)?.as_str() {
        "service_started" => Some(Condition::Started),
        "service_healthy" => Some(Condition::Healthy),
        "service_completed_successfully" => Some(Condition::CompletedSuccessfully),
        other => field.invalid("condition", other, rule, findings),
    }
}

/// `healthcheck`
pub(super) fn health(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<Health> {
    let section = field.section(keys::HEALTHCHECK, findings)?;
    let disabled = section.read("disable", findings, scalar::boolean).unwrap_or_default();
    if disabled && section.entries.len() > 1 {
        let cause = Cause::Conflict {
            with: "disable: true",
            why: "a check that is off has nothing else to say",
        };
        return findings.refuse(field, cause);
    }
    let time = |name: &str, findings: &mut Findings<'_>| section.read(name, findings, above_zero);
    let test = section.read("test", findings, test);
    if disabled || matches!(test, Some(Test::None)) {
        return Some(Health::Disabled);
    }
    Some(Health::Check(HealthCheck {
        test: test.and_then(|test| match test {
            Test::Argv(arguments) => Some(arguments),
            Test::None => None,
        }),
        interval: time("interval", findings),
        timeout: time("timeout", findings),
        retries: section.read("retries", findings, |field, findings| {
            scalar::number(
                field,
                findings,
                |retries| (1..=1000).contains(&retries),
                "a number from 1 to 1000",
            )
        }),
        start_period: section.read("start_period", findings, scalar::duration),
        start_interval: time("start_interval", findings),
    }))
}

/// What `test` says.
enum Test {
    /// `["NONE"]`
    None,
    /// The command, that of a shell included.
    Argv(Vec<String>),
}

fn test(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<Test> {
    let shell = |command: String| Test::Argv(vec!["/bin/sh".to_owned(), "-c".to_owned(), command]);
    if matches!(field.node.value, Value::Scalar { .. }) {
        return Some(shell(field.text(findings)?));
    }
    let mut arguments = field.texts(findings).into_iter();
    let rule = "[\"CMD\", program, arguments…], [\"CMD-SHELL\", command], [\"NONE\"], or one text for a shell";
    let (first, rest) = (arguments.next().unwrap_or_default(), arguments.collect::<Vec<_>>());
    match (first.as_str(), rest.len()) {
        ("NONE", 0) => Some(Test::None),
        ("CMD", 1..) => Some(Test::Argv(rest)),
        ("CMD-SHELL", 1) => Some(shell(rest.concat())),
        _ => field.invalid("test", &first, rule, findings),
    }
}

fn above_zero(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<std::time::Duration> {
    match scalar::duration(field, findings)? {
        time if time.is_zero() => field.invalid("time", "0", "more than 0", findings),
        time => Some(time),
    }
}

/// `restart`, or `deploy.restart_policy`.
pub(super) fn restart(
    service: &Section<'_>,
    deploy: Option<&Section<'_>>,
    findings: &mut Findings<'_>,
) -> Restart {
    let never = Restart { when: RestartWhen::Never, attempts: None, delay: None, window: None };
    let policy = deploy.and_then(|deploy| deploy.get("restart_policy"));
    let in_deploy = policy.is_some();
    let Some(field) = once(service.get("restart"), policy, findings) else {
        return never;
    };
    let read =
        if in_deploy { restart_policy(&field, findings) } else { restart_word(&field, findings) };
    read.unwrap_or(never)
}

fn restart_word(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<Restart> {
    let text = field.text(findings)?;
    let (word, attempts) = match text.split_once(':') {
        Some((word, attempts)) => (word, Some(attempts)),
        None => (text.as_str(), None),
    };
    let when = match (word, attempts) {
        ("no", None) => Some(RestartWhen::Never),
        ("always" | "unless-stopped", None) => Some(RestartWhen::Always),
        ("on-failure", _) => Some(RestartWhen::OnFailure),
        _ => None,
    };
    let number = attempts.map(str::parse::<u32>);
    match (when, number) {
        (Some(when), None) => Some(Restart { when, attempts: None, delay: None, window: None }),
        (Some(when), Some(Ok(attempts @ 1..))) => {
            Some(Restart { when, attempts: Some(attempts), delay: None, window: None })
        }
        _ => field.invalid(
            "restart",
            &text,
            "no, always, unless-stopped, on-failure or on-failure:TIMES",
            findings,
        ),
    }
}

fn restart_policy(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<Restart> {
    let section = field.section(keys::RESTART_POLICY, findings)?;
    let when = section.read("condition", findings, |field, findings| {
        match field.text(findings)?.as_str() {
            "none" => Some(RestartWhen::Never),
            "on-failure" => Some(RestartWhen::OnFailure),
            "any" => Some(RestartWhen::Always),
            other => field.invalid("condition", other, "none, on-failure or any", findings),
        }
    });
    Some(Restart {
        when: when.unwrap_or(RestartWhen::Always),
        attempts: section.read("max_attempts", findings, |field, findings| {
            scalar::number(
                field,
                findings,
                |attempts| attempts >= 1,
                "a number from 1; leave it out for no limit",
            )
        }),
        delay: section.read("delay", findings, scalar::duration),
        window: section.read("window", findings, scalar::duration),
    })
}

/// `stop_signal` and `stop_grace_period`
pub(super) fn stop(service: &Section<'_>, findings: &mut Findings<'_>) -> Stop {
    let signal = service.read("stop_signal", findings, |field, findings| {
        let text = field.text(findings)?;
        let known = match text.parse::<u8>() {
            Ok(number) => (1..=31).contains(&number),
            Err(_) => SIGNALS.contains(&text.strip_prefix("SIG").unwrap_or(&text)),
        };
        if known {
            Some(text)
        } else {
            field.invalid("signal", &text, "a name such as SIGTERM, or 1 to 31", findings)
        }
    });
    Stop { signal, grace: service.read("stop_grace_period", findings, scalar::duration) }
}

/// `logging`
pub(super) fn logging(service: &Section<'_>, findings: &mut Findings<'_>) -> Logging {
    let Some(section) = service.section("logging", keys::LOGGING, findings) else {
        return DEFAULT_LOGGING;
    };
    let driver = section.read("driver", findings, Field::text);
    let driver = driver.as_deref().unwrap_or("json-file");
    let (none, files) = (driver == "none", matches!(driver, "json-file" | "local"));
    if let (false, false, Some(field)) = (none, files, section.get("driver")) {
        findings.note(&field, "changes nothing: output is kept in files of the guest's own");
    }
    let options = section.get("options");
    if let (true, Some(options)) = (none, &options) {
        let cause = Cause::Conflict { with: "driver: none", why: "what is not kept has no size" };
        findings.refuse::<()>(options, cause);
    }
    // Options of drivers that are not there belong to them.
    let options = options.filter(|_| files);
    let options = options.and_then(|field| field.section(keys::LOG_OPTIONS, findings));
    let read = |name: &str, findings: &mut Findings<'_>, fits: fn(&str) -> Option<u64>, rule| {
        options.as_ref()?.read(name, findings, |field, findings| {
            let text = field.text(findings)?;
            fits(&text).or_else(|| field.invalid("limit of logs", &text, rule, findings))
        })
    };
    // Docker reads this one size in powers of 1000.
    let size = |text: &str| scalar::size(text, 1000).filter(|bytes| *bytes >= MIN_LOG_BYTES);
    let count = |text: &str| {
        text.parse().ok().filter(|files| (1..=u64::from(MAX_LOG_FILES)).contains(files))
    };
    let max_bytes = read("max-size", findings, size, "a size of at least 5k, such as 10m");
    let max_files = read("max-file", findings, count, "a number from 1 to 100");
    Logging {
        max_bytes: max_bytes.unwrap_or(DEFAULT_LOGGING.max_bytes),
        max_files: max_files
            .and_then(|files| u32::try_from(files).ok())
            .unwrap_or(DEFAULT_LOGGING.max_files),
        none,
    }
}
