//! The three lists of rules, read with the names that the file defines.

use std::collections::BTreeMap;

use pad_rules::{
    InputRule, OutputRule, OwnerId, ProgramDigest, ProgramRule, Quota, QuotaId, Schema, Share,
    SharePolicy,
};
use protocol::digest::{Sha256Digest, decode_hex};

use crate::names::{Kind, Names};
use crate::problem::{PolicyFileError, Problem};
use crate::table::{Table, Value};
use crate::units;

/// Rules of each part.
const INPUT: [&str; 3] = ["MAX_SHARE", "MIN_SHARE", "PLAIN_INPUT"];
const PROGRAM: [&str; 4] = ["PROGRAM_IN", "AUTH_USER", "RATE_LIMIT", "HELPER_IN"];
const OUTPUT: [&str; 4] = ["CUSTODIAN", "SAME_POLICY", "PLAIN_RESULT", "UPDATE_BY"];
/// What stands where a limit is expected.
const LIMIT: &str = "uses and a period such as \"10 per minute\" or \"5 per 10 minutes\"";
/// What stands where a form of results is expected.
const SCHEMA: &str = "\"any\", \"number\" or \"label\"";

type Read<T> = Result<T, PolicyFileError>;

/// Takes `[[input]]`, `[[program]]` and `[[output]]` of the file.
pub(crate) fn read(table: &mut Table<'_>, names: &Names) -> Read<SharePolicy> {
    Ok(SharePolicy {
        input: part(
            table,
            "input",
            |rule| input(rule, names),
            |input| SharePolicy { input: vec![input], ..SharePolicy::default() },
        )?,
        program: part(
            table,
            "program",
            |rule| program(rule, names),
            |program| SharePolicy { program: vec![program], ..SharePolicy::default() },
        )?,
        output: part(
            table,
            "output",
            |rule| output(rule, names),
            |output| SharePolicy { output: vec![output], ..SharePolicy::default() },
        )?,
    })
}

/// One part. Each rule is read by the engine's own reader too, so that its bounds are refused at
/// the rule's line.
fn part<R: Clone>(
    table: &mut Table<'_>,
    key: &'static str,
    read: impl Fn(&mut Table<'_>) -> Read<R>,
    alone: impl Fn(R) -> SharePolicy,
) -> Read<Vec<R>> {
    let Some(list) = table.optional(key) else { return Ok(Vec::new()) };
    let mut rules = Vec::new();
    for item in list.items()? {
        let mut table = item.table()?;
        let rule = read(&mut table)?;
        table.end()?;
        SharePolicy::parse(&alone(rule.clone()).to_constraints())
            .map_err(|error| item.place.refused(Problem::Refused(error.to_string())))?;
        rules.push(rule);
    }
    Ok(rules)
}

fn input(rule: &mut Table<'_>, names: &Names) -> Read<InputRule> {
    let kind = rule.required("rule")?;
    Ok(match kind.text()? {
        "MAX_SHARE" => InputRule::MaxShare(share(rule, names)?),
        "MIN_SHARE" => InputRule::MinShare(share(rule, names)?),
        "PLAIN_INPUT" => {
            InputRule::PlainInput { max_bytes: rule.required("max_bytes")?.integer()? }
        }
        other => return Err(unknown(&kind, other, &INPUT)),
    })
}

fn program(rule: &mut Table<'_>, names: &Names) -> Read<ProgramRule> {
    let kind = rule.required("rule")?;
    Ok(match kind.text()? {
        "PROGRAM_IN" => {
            let digests = list(&rule.required("programs")?, Kind::Program, names)?;
            ProgramRule::ProgramIn(digests.into_iter().map(|one| ProgramDigest(one.0)).collect())
        }
        "AUTH_USER" => ProgramRule::AuthUser(owners(&rule.required("owners")?, names)?),
        "RATE_LIMIT" => ProgramRule::RateLimit {
            quota: rule.required("quota")?.parsed(
                "an account of 32 lower-case hexadecimal digits, drawn at random",
                |text| decode_hex(text).ok().map(QuotaId),
            )?,
            owners: each(&rule.required("limits")?, names, |value| {
                let (uses, period_secs) = value.parsed(LIMIT, units::limit)?;
                Ok((uses, period_secs))
            })?
            .into_iter()
            .map(|(owner, (uses, period_secs))| Quota { owner, uses, period_secs })
            .collect(),
        },
        "HELPER_IN" => ProgramRule::HelperIn(texts(&rule.required("helpers")?)?),
        other => return Err(unknown(&kind, other, &PROGRAM)),
    })
}

fn output(rule: &mut Table<'_>, names: &Names) -> Read<OutputRule> {
    let kind = rule.required("rule")?;
    Ok(match kind.text()? {
        "CUSTODIAN" => {
            let digest = named(&rule.required("custodian")?, Kind::Custodian, names)?;
            OutputRule::Custodian(OwnerId(digest.0))
        }
        "SAME_POLICY" => OutputRule::SamePolicy,
        "PLAIN_RESULT" => OutputRule::PlainResult {
            schema: schema(rule)?,
            max_bytes: rule.required("max_bytes")?.integer()?,
        },
        "UPDATE_BY" => OutputRule::UpdateBy {
            basis_points: percentage(&rule.required("share")?)?,
            weights: each(&rule.required("weights")?, names, |value| value.integer())?
                .into_iter()
                .collect(),
        },
        other => return Err(unknown(&kind, other, &OUTPUT)),
    })
}

fn unknown(kind: &Value<'_>, found: &str, known: &'static [&'static str]) -> PolicyFileError {
    let found = found.chars().take(64).collect();
    kind.place.refused(Problem::Rule { found, known })
}

fn share(rule: &mut Table<'_>, names: &Names) -> Read<Share> {
    Ok(Share {
        basis_points: percentage(&rule.required("share")?)?,
        attribute: rule.required("of")?.text()?.to_owned(),
        among: owners(&rule.required("among")?, names)?,
    })
}

fn percentage(value: &Value<'_>) -> Read<u64> {
    let (text, needs_sign) = value.share_text()?;
    units::share(text, needs_sign).ok_or_else(|| {
        let expected = "a percentage of 0 to 100 with at most two digits behind its point, such \
                        as \"60 %\" or 60.0 (below 1 in quotes)";
        value.wrong(expected, text)
    })
}

fn schema(rule: &mut Table<'_>) -> Read<Schema> {
    let value = rule.required("schema")?;
    match value.text()? {
        "any" => Ok(Schema::Any),
        "number" => Ok(Schema::Number),
        "label" => Ok(Schema::Label(texts(&rule.required("labels")?)?)),
        other => Err(value.wrong(SCHEMA, other)),
    }
}

/// A list of texts, ascending.
fn texts(value: &Value<'_>) -> Read<Vec<String>> {
    let mut texts = BTreeMap::new();
    for item in value.items()? {
        let text = item.text()?;
        if texts.insert(text, ()).is_some() {
            return Err(twice(&item, text, text));
        }
    }
    Ok(texts.into_keys().map(str::to_owned).collect())
}

fn owners(value: &Value<'_>, names: &Names) -> Read<Vec<OwnerId>> {
    let digests = list(value, Kind::Custodian, names)?;
    Ok(digests.into_iter().map(|digest| OwnerId(digest.0)).collect())
}

/// A list of names, as digests in ascending order.
fn list(value: &Value<'_>, kind: Kind, names: &Names) -> Read<Vec<Sha256Digest>> {
    let mut digests = BTreeMap::new();
    for item in value.items()? {
        let name = item.text()?;
        if let Some(other) = digests.insert(named(&item, kind, names)?, name) {
            return Err(twice(&item, name, other));
        }
    }
    Ok(digests.into_keys().collect())
}

/// A table with a value for each custodian that it names, ascending by custodian.
fn each<T>(
    value: &Value<'_>,
    names: &Names,
    read: impl Fn(&Value<'_>) -> Read<T>,
) -> Read<BTreeMap<OwnerId, T>> {
    let mut all = BTreeMap::new();
    for (name, value) in value.table()?.into_pairs() {
        let digest = lookup(&value, name, Kind::Custodian, names)?;
        all.insert(OwnerId(digest.0), read(&value)?);
    }
    Ok(all)
}

fn named(value: &Value<'_>, kind: Kind, names: &Names) -> Read<Sha256Digest> {
    lookup(value, value.text()?, kind, names)
}

fn lookup(value: &Value<'_>, name: &str, kind: Kind, names: &Names) -> Read<Sha256Digest> {
    names.of(kind).digest(name).ok_or_else(|| {
        let name = name.chars().take(64).collect();
        value.place.refused(Problem::Undefined { name, table: kind.table() })
    })
}

fn twice(value: &Value<'_>, one: &str, other: &str) -> PolicyFileError {
    value.place.refused(Problem::Twice(one.to_owned(), other.to_owned()))
}
