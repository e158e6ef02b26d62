//! From a policy that a Pad has to the text that gives exactly it.

use std::fmt::Write as _;

use pad_format::Policy;
use pad_rules::{
    Constraints, InputRule, OutputRule, OwnerId, ProgramDigest, ProgramRule, RuleError, Schema,
    Share, SharePolicy,
};
use protocol::digest::Sha256Digest;

use crate::names::{Kind, Names};
use crate::read::share_type;
use crate::units;

/// The text of a policy. Custodians and programs have the names that are given, or a number.
///
/// # Errors
/// If its constraints are not those of the engine `share`.
pub fn to_toml(policy: &Policy, names: &Names) -> Result<String, RuleError> {
    let rules = rules(policy)?;
    let mut text = String::new();
    if policy.policy_type != share_type() {
        line(&mut text, "type", &quoted(&policy.policy_type.to_string()));
    }
    line(&mut text, "engine", &quoted(&policy.engine.to_string()));
    line(&mut text, "input_id", &quoted(policy.input_id.as_str()));
    let mut writer = Writer { names: names.clone(), used: Vec::new(), text: String::new() };
    rules.input.iter().for_each(|rule| writer.input(rule));
    rules.program.iter().for_each(|rule| writer.program(rule));
    rules.output.iter().for_each(|rule| writer.output(rule));
    for kind in [Kind::Custodian, Kind::Program] {
        writer.table(kind, &mut text);
    }
    Ok(text + &writer.text)
}

/// The rules of a policy.
///
/// # Errors
/// If its constraints are not those of the engine `share`.
pub fn rules(policy: &Policy) -> Result<SharePolicy, RuleError> {
    SharePolicy::parse(&Constraints {
        input: policy.input_constraint.clone(),
        program: policy.program_constraint.clone(),
        output: policy.output_constraint.clone(),
    })
}

struct Writer {
    names: Names,
    /// What rules name, in the order in which they do.
    used: Vec<(Kind, Sha256Digest)>,
    text: String,
}

impl Writer {
    fn input(&mut self, rule: &InputRule) {
        match rule {
            InputRule::MaxShare(share) => self.share("MAX_SHARE", share),
            InputRule::MinShare(share) => self.share("MIN_SHARE", share),
            InputRule::PlainInput { max_bytes } => {
                self.rule("input", "PLAIN_INPUT");
                self.line("max_bytes", &integer(*max_bytes));
            }
        }
    }

    fn share(&mut self, kind: &str, share: &Share) {
        self.rule("input", kind);
        self.line("share", &quoted(&units::share_text(share.basis_points)));
        self.line("of", &quoted(&share.attribute));
        let among = self.owners(&share.among);
        self.line("among", &among);
    }

    fn program(&mut self, rule: &ProgramRule) {
        match rule {
            ProgramRule::ProgramIn(programs) => {
                self.rule("program", "PROGRAM_IN");
                let of = |ProgramDigest(digest): &ProgramDigest| Sha256Digest(*digest);
                let programs = self.list(Kind::Program, programs.iter().map(of));
                self.line("programs", &programs);
            }
            ProgramRule::AuthUser(owners) => {
                self.rule("program", "AUTH_USER");
                let owners = self.owners(owners);
                self.line("owners", &owners);
            }
            ProgramRule::RateLimit { quota, owners } => {
                self.rule("program", "RATE_LIMIT");
                self.line("quota", &quoted(&hex::encode(quota.0)));
                let limit = |quota: &pad_rules::Quota| {
                    (quota.owner, quoted(&units::limit_text(quota.uses, quota.period_secs)))
                };
                let limits = self.each(owners.iter().map(limit));
                self.line("limits", &limits);
            }
            ProgramRule::HelperIn(helpers) => {
                self.rule("program", "HELPER_IN");
                self.line("helpers", &texts(helpers));
            }
        }
    }

    fn output(&mut self, rule: &OutputRule) {
        match rule {
            OutputRule::Custodian(owner) => {
                self.rule("output", "CUSTODIAN");
                let name = self.name(Kind::Custodian, Sha256Digest(owner.0));
                self.line("custodian", &quoted(&name));
            }
            OutputRule::SamePolicy => self.rule("output", "SAME_POLICY"),
            OutputRule::PlainResult { schema, max_bytes } => {
                self.rule("output", "PLAIN_RESULT");
                match schema {
                    Schema::Any => self.line("schema", "\"any\""),
                    Schema::Number => self.line("schema", "\"number\""),
                    Schema::Label(labels) => {
                        self.line("schema", "\"label\"");
                        self.line("labels", &texts(labels));
                    }
                }
                self.line("max_bytes", &integer(*max_bytes));
            }
            OutputRule::UpdateBy { basis_points, weights } => {
                self.rule("output", "UPDATE_BY");
                self.line("share", &quoted(&units::share_text(*basis_points)));
                let weight = |(owner, weight): &(OwnerId, u64)| (*owner, integer(*weight));
                let weights = self.each(weights.iter().map(weight));
                self.line("weights", &weights);
            }
        }
    }

    fn rule(&mut self, part: &str, kind: &str) {
        self.text += &format!("\n[[{part}]]\nrule = \"{kind}\"\n");
    }

    fn line(&mut self, key: &str, value: &str) {
        line(&mut self.text, key, value);
    }

    fn name(&mut self, kind: Kind, digest: Sha256Digest) -> String {
        if !self.used.contains(&(kind, digest)) {
            self.used.push((kind, digest));
        }
        self.names.ensured(kind, digest)
    }

    fn owners(&mut self, owners: &[OwnerId]) -> String {
        self.list(Kind::Custodian, owners.iter().map(|owner| Sha256Digest(owner.0)))
    }

    fn list(&mut self, kind: Kind, digests: impl Iterator<Item = Sha256Digest>) -> String {
        let names: Vec<_> = digests.map(|digest| quoted(&self.name(kind, digest))).collect();
        format!("[{}]", names.join(", "))
    }

    fn each(&mut self, pairs: impl Iterator<Item = (OwnerId, String)>) -> String {
        let pairs: Vec<_> = pairs
            .map(|(owner, value)| {
                format!("{} = {value}", self.name(Kind::Custodian, Sha256Digest(owner.0)))
            })
            .collect();
        format!("{{ {} }}", pairs.join(", "))
    }

    /// The table with the names that were used.
    fn table(&self, kind: Kind, text: &mut String) {
        let used: Vec<_> = self.used.iter().filter(|(of, _)| *of == kind).collect();
        if used.is_empty() {
            return;
        }
        *text += &format!("\n[{}]\n", kind.table());
        for (_, digest) in used {
            let name = self.names.of(kind).name(digest).unwrap_or_default();
            line(text, name, &quoted(&digest.to_string()));
        }
    }
}

fn line(text: &mut String, key: &str, value: &str) {
    *text += &format!("{key} = {value}\n");
}

/// A number; TOML has integers of 63 bits.
fn integer(number: u64) -> String {
    if i64::try_from(number).is_ok() { number.to_string() } else { quoted(&number.to_string()) }
}

/// A list of texts.
fn texts(texts: &[String]) -> String {
    let texts: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", texts.join(", "))
}

/// A text in quotes, in printable ASCII whatever it holds.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            ' '..='~' => quoted.push(letter),
            _ => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(letter)); // a String takes all
            }
        }
    }
    quoted + "\""
}
