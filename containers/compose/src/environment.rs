//! The variables of a service: those of its `env_file`, and over them those of `environment`.
//!
//! A name without a value takes the value of the app's variables (`.env`); if there is none it is
//! refused, where Docker would leave it unset without a word. A variable in a value of an
//! `env_file` is looked up as Docker Compose does: among the app's variables, those of the
//! service's own `environment`, the lines above it, and the files before it.

use super::app_directory;
use super::document::Value;
use super::dotenv::{self, DotenvError, DotenvFault, Format, MAX_VARIABLES};
use super::field::{Field, Findings, Section};
use super::interpolate::{InterpolationError, Unset};
use super::keys;
use super::refusal::Cause;
use super::scalar;

/// Names and values; no name stands twice.
pub(super) fn read(service: &Section<'_>, findings: &mut Findings<'_>) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    let set = |variables: Vec<(String, String)>, all: &mut Vec<(String, String)>| {
        for (name, value) in variables {
            match all.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = value,
                None => all.push((name, value)),
            }
        }
    };
    let own = service.get("environment");
    let own = own.map(|field| list_or_mapping(&field, findings, without_value)).unwrap_or_default();
    let files = service.get("env_file").map(|field| env_files(&field, findings));
    for file in files.unwrap_or_default() {
        set(variables_of(&file, &own, &all, findings).unwrap_or_default(), &mut all);
    }
    set(own, &mut all);
    if all.len() > MAX_VARIABLES {
        let cause = Cause::TooMany { what: "variables", found: all.len(), limit: MAX_VARIABLES };
        findings.refuse::<()>(&service.field, cause);
    }
    all
}

/// `labels`: one without a value is empty.
pub(super) fn labels(
    field: &Field<'_>,
    findings: &mut Findings<'_>,
) -> Option<Vec<(String, String)>> {
    Some(list_or_mapping(field, findings, |_, _, _| Some(String::new())))
}

/// `NAME: value` or a list of `NAME=value`: `environment`, `labels` and `sysctls` have this form.
/// `bare` is asked for the value of a name that has none.
pub(super) fn list_or_mapping(
    field: &Field<'_>,
    findings: &mut Findings<'_>,
    bare: fn(&str, &Field<'_>, &mut Findings<'_>) -> Option<String>,
) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    for (name, value, at) in pairs(field, findings) {
        if name.is_empty() || name.contains(['=', '\0']) {
            at.invalid::<()>("name", &name, "at least one character, no = and no NUL", findings);
        } else if out.iter().any(|(known, _)| *known == name) {
            findings.refuse::<()>(&at, Cause::Twice(name));
        } else if let Some(value) = value.or_else(|| bare(&name, &at, findings)) {
            out.push((name, value));
        }
    }
    out
}

fn pairs<'a>(
    field: &Field<'a>,
    findings: &mut Findings<'_>,
) -> Vec<(String, Option<String>, Field<'a>)> {
    if let Value::Sequence(items) = &field.node.value {
        let pair = |item: Field<'a>| {
            let text = item.text(findings)?;
            Some(match text.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned()), item),
                None => (text, None, item),
            })
        };
        return field.list(items).into_iter().filter_map(pair).collect();
    }
    if !matches!(field.node.value, Value::Mapping(_)) && !field.node.is_null() {
        return field.wrong_kind("a mapping or a list", findings).unwrap_or_default();
    }
    let pair = |(name, value): (&str, Field<'a>)| {
        let text = if value.node.is_null() { None } else { Some(value.text(findings)?) };
        Some((name.to_owned(), text, value))
    };
    let entries = match &field.node.value {
        Value::Mapping(entries) => field.named(entries),
        _ => Vec::new(),
    };
    entries.into_iter().filter_map(pair).collect()
}

fn without_value(name: &str, at: &Field<'_>, findings: &mut Findings<'_>) -> Option<String> {
    let value = findings.text_variable(name);
    if value.is_none() {
        findings.unset(&at.path, at.line, vec![Unset::named(name)]);
    }
    value
}

/// One entry of `env_file`.
struct EnvFile<'a> {
    path: String,
    at: Field<'a>,
    required: bool,
    format: Format,
}

fn env_files<'a>(field: &Field<'a>, findings: &mut Findings<'_>) -> Vec<EnvFile<'a>> {
    let fields = match &field.node.value {
        Value::Scalar { .. } if !field.node.is_null() => vec![field.clone()],
        Value::Mapping(_) => {
            return field.wrong_kind("text or a list", findings).unwrap_or_default();
        }
        _ => field.items(findings),
    };
    fields.into_iter().filter_map(|field| env_file(field, findings)).collect()
}

fn env_file<'a>(field: Field<'a>, findings: &mut Findings<'_>) -> Option<EnvFile<'a>> {
    if !matches!(field.node.value, Value::Mapping(_)) {
        let path = field.text(findings)?;
        return Some(EnvFile { path, at: field, required: true, format: Format::Variables });
    }
    let section = field.section(keys::ENV_FILE, findings)?;
    let required = section.read("required", findings, scalar::boolean).unwrap_or(true);
    let format = section.read("format", findings, |format, findings| {
        match format.text(findings)?.as_str() {
            "raw" => Some(Format::Raw),
            other => format.invalid(
                "format",
                other,
                "raw is the only one; leave it out for variables and quotes",
                findings,
            ),
        }
    });
    let path = section.required("path", findings, Field::text)?;
    let at = section.get("path").unwrap_or(field);
    Some(EnvFile { path, at, required, format: format.unwrap_or(Format::Variables) })
}

/// The variables of `file`; `own` are those of the service's environment, `earlier` those of the
/// files before.
fn variables_of(
    file: &EnvFile<'_>,
    own: &[(String, String)],
    earlier: &[(String, String)],
    findings: &mut Findings<'_>,
) -> Option<Vec<(String, String)>> {
    let path = app_directory::path(&file.path, &file.at, findings)?;
    if !file.required && findings.app_entry(&path).is_none() {
        return None;
    }
    let content = app_directory::file(&path, &file.at, findings)?.to_vec();
    let of_service = |name: &str| own.iter().find(|(known, _)| known == name);
    let parsed = dotenv::parse(&content, file.format, earlier, &mut |name| {
        let value = findings.text_variable(name);
        value.or_else(|| of_service(name).map(|(_, value)| value.clone()))
    });
    match parsed {
        Ok(variables) => Some(variables),
        Err(DotenvError {
            line,
            fault: DotenvFault::Interpolation(InterpolationError::Unset(unset)),
        }) => findings.unset_in(&format!("{path}, line {line}"), &file.at, unset),
        Err(cause) => findings.refuse(&file.at, Cause::Variables { path, cause }),
    }
}
