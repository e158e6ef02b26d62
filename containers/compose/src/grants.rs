//! `configs` and `secrets` of a service: files whose content the top level of the compose file
//! defines.

use super::definitions::Definitions;
use super::document::Value;
use super::field::{Field, Findings};
use super::keys;
use super::model::{Mount, MountSource};
use super::refusal::Cause;
use super::scalar;
use super::target::target;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `configs`, at `/NAME` by default.
    Config,
    /// `secrets`, at `/run/secrets/NAME` by default.
    Secret,
}

impl Kind {
    /// The key of both, at the top level and in a service.
    pub fn key(self) -> &'static str {
        match self {
            Kind::Config => "configs",
            Kind::Secret => "secrets",
        }
    }

    fn directory(self) -> &'static str {
        match self {
            Kind::Config => "/",
            Kind::Secret => "/run/secrets/",
        }
    }
}

/// Everybody may read, nobody may write: the specification's default.
const DEFAULT_MODE: u32 = 0o444;

/// One entry: a name, or the long form.
pub(super) fn read(
    kind: Kind,
    field: &Field<'_>,
    defined: &Definitions,
    findings: &mut Findings<'_>,
) -> Option<Mount> {
    if !matches!(field.node.value, Value::Mapping(_)) {
        let name = field.text(findings)?;
        let target = target(&format!("{}{name}", kind.directory()), field, findings);
        let content = content(kind, &name, field, defined, findings)?;
        let source = MountSource::File { content, uid: 0, gid: 0, mode: DEFAULT_MODE };
        return Some(Mount { target: target?, read_only: true, source });
    }
    let section = field.section(keys::GRANT, findings)?;
    let name = section.required("source", findings, Field::text)?;
    let target = match section.get("target") {
        Some(at) => match at.text(findings)? {
            text if text.starts_with('/') => target(&text, &at, findings),
            text => target(&format!("{}{text}", kind.directory()), &at, findings),
        },
        None => target(&format!("{}{name}", kind.directory()), field, findings),
    };
    let id = |name: &str, findings: &mut Findings<'_>| {
        let rule = "a number; names of the image are not known yet";
        section.read(name, findings, |field, findings| {
            scalar::number(field, findings, |_: u32| true, rule)
        })
    };
    let owner = (id("uid", findings).unwrap_or_default(), id("gid", findings).unwrap_or_default());
    let mode = section.read("mode", findings, mode).unwrap_or(DEFAULT_MODE);
    let source = section.get("source").unwrap_or_else(|| field.clone());
    let content = content(kind, &name, &source, defined, findings)?;
    let source = MountSource::File { content, uid: owner.0, gid: owner.1, mode };
    Some(Mount { target: target?, read_only: true, source })
}

/// The bytes of a config or secret by its name.
fn content(
    kind: Kind,
    name: &str,
    field: &Field<'_>,
    defined: &Definitions,
    findings: &mut Findings<'_>,
) -> Option<Vec<u8>> {
    let (what, contents) = match kind {
        Kind::Config => ("config", &defined.configs),
        Kind::Secret => ("secret", &defined.secrets),
    };
    let Some(content) = contents.get(name) else {
        return findings.refuse(field, Cause::Undefined { what, name: name.to_owned() });
    };
    // One that was refused where it is defined has no content; that is said there.
    let content = content.clone()?;
    findings.mounted(field, content.len())?;
    Some(content)
}

/// Permission bits in octal: without the 0 in front, YAML and Docker would read a decimal number.
pub(super) fn mode(field: &Field<'_>, findings: &mut Findings<'_>) -> Option<u32> {
    let text = field.text(findings)?;
    let octal = text
        .strip_prefix("0o")
        .or_else(|| text.strip_prefix('0'))
        .filter(|digits| !digits.is_empty());
    match octal.and_then(|digits| u32::from_str_radix(digits, 8).ok()) {
        Some(mode) if mode <= 0o7777 => Some(mode),
        _ => field.invalid("mode", &text, "octal with a 0 in front, such as 0440", findings),
    }
}
