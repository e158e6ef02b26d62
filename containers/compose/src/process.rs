//! What a service runs, and as whom.

use super::app_directory;
use super::command;
use super::environment;
use super::field::{Field, Findings, Section};
use super::model::Process;
use super::scalar;

/// The kernel knows 65,536 groups of a process; nobody lists them.
const MAX_GROUPS: usize = 32;

pub(super) fn read(service: &Section<'_>, findings: &mut Findings<'_>) -> Process {
    let flag = |name, findings: &mut Findings<'_>| {
        service.read(name, findings, scalar::boolean).unwrap_or_default()
    };
    Process {
        entrypoint: service.read("entrypoint", findings, command::read),
        command: service.read("command", findings, command::read),
        environment: environment::read(service, findings),
        working_dir: service.read("working_dir", findings, |field, findings| {
            app_directory::target(&field.text(findings)?, field, findings)
        }),
        user: service.read("user", findings, user),
        group_add: service.read("group_add", findings, groups).unwrap_or_default(),
        init: flag("init", findings),
        tty: flag("tty", findings),
        stdin_open: flag("stdin_open", findings),
    }
}

fn user(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<String> {
    let text = field.text(findings)?;
    let (user, group) = text.split_once(':').unwrap_or((&text, "0"));
    if !account(user) || !account(group) {
        return field.invalid("user", &text, "user or user:group, names or numbers", findings);
    }
    Some(text)
}

fn groups(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<Vec<String>> {
    let items = field.items(findings);
    let mut groups = Vec::new();
    for item in items.iter().take(MAX_GROUPS) {
        let text = item.text(findings)?;
        if !account(&text) {
            return item.invalid("group", &text, "a name or a number", findings);
        }
        groups.push(text);
    }
    (items.len() <= MAX_GROUPS).then_some(groups).or_else(|| {
        let cause = super::Cause::TooMany { what: "groups", found: items.len(), limit: MAX_GROUPS };
        findings.refuse(field, cause)
    })
}

/// What may be a name in `/etc/passwd` or `/etc/group`, or a number.
fn account(text: &str) -> bool {
    let legal = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, ':' | ',' | '/');
    (1..=255).contains(&text.len()) && text.chars().all(legal)
}
