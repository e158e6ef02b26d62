//! The verdict about a name, row by row.

use attestation::Verdict;
use gateway_domain::caa::{Caa, Property, VALIDATION_METHOD};
use gateway_domain::certificate::Certificate;
use gateway_domain::name::DomainName;
use serde::Serialize;

use crate::attested::Attested;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// The name.
    pub name: DomainName,
    /// Now, in seconds since 1970.
    pub now_secs: u64,
    /// Certificates that ended before do not matter; seconds since 1970.
    pub since_secs: u64,
}

/// What was gathered. Each source that could not be read says why.
#[derive(Debug, Clone, Default)]
pub struct Gathered {
    /// The certificate that is served now.
    pub served: Option<Result<Certificate, String>>,
    /// The CAA records that count for the name, by each resolver.
    pub caa: Vec<Result<Relevant, String>>,
    /// Why the published evidence as a whole does not count: it is of another form, or is not the
    /// one that the verifier saw before.
    pub evidence_fault: Option<String>,
    /// Lines of published evidence that do not count.
    pub not_attested: Vec<String>,
    /// Certificates that are logged for the name.
    pub logged: Vec<Logged>,
    /// Sources of logged certificates that could not be read.
    pub unread: Vec<String>,
    /// What logs of tiles proved, or did not.
    pub proofs: Vec<Proof>,
}

/// The CAA records that count for a name, and where they are (RFC 8659, 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relevant {
    /// The closest name upwards that has any.
    pub at: DomainName,
    /// Its records, in ascending order.
    pub records: Vec<Caa>,
}

/// A certificate in a log.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Where it was found.
    pub source: String,
    /// What it says, if it can be read.
    pub certificate: Result<Certificate, String>,
}

/// A proof of a log.
#[derive(Debug, Clone)]
pub struct Proof {
    /// The log, and what it was to prove.
    pub what: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Holds,
    /// It does not.
    Broken(String),
    /// It could not be had.
    Unknown(String),
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What was checked.
    pub check: &'static str,
    /// What came of it.
    pub verdict: RowVerdict,
    /// As a person reads it.
    pub text: String,
}

/// What came of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RowVerdict {
    /// It is as it should be.
    Pass,
    /// It is not.
    Fail,
    /// It is not known.
    Skipped,
}

/// All rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// The rows, in the order of the check.
    pub rows: Vec<Row>,
}

impl Findings {
    /// Pass only if every row passes; fail if one fails.
    pub fn verdict(&self) -> Verdict {
        let any = |verdict| self.rows.iter().any(|row| row.verdict == verdict);
        match (any(RowVerdict::Fail), any(RowVerdict::Skipped)) {
            (true, _) => Verdict::Fail,
            (false, true) => Verdict::Incomplete,
            (false, false) => Verdict::Pass,
        }
    }

    fn add(&mut self, check: &'static str, verdict: RowVerdict, text: impl Into<String>) {
        self.rows.push(Row { check, verdict, text: text.into() });
    }
}

/// Judges a name by the keys that have evidence.
pub fn judge(question: &Question, attested: &Attested, gathered: &Gathered) -> Findings {
    let mut findings = Findings { rows: Vec::new() };
    judge_evidence(&mut findings, attested, gathered);
    judge_served(&mut findings, question, attested, gathered);
    judge_caa(&mut findings, attested, gathered);
    judge_logged(&mut findings, question, attested, gathered);
    for Proof { what, outcome } in &gathered.proofs {
        match outcome {
            Outcome::Holds => findings.add("log", RowVerdict::Pass, what),
            Outcome::Broken(why) => findings.add("log", RowVerdict::Fail, format!("{what}: {why}")),
            Outcome::Unknown(why) => {
                findings.add("log", RowVerdict::Skipped, format!("{what}: {why}"));
            }
        }
    }
    findings
}

fn judge_evidence(findings: &mut Findings, attested: &Attested, gathered: &Gathered) {
    let (accounts, leaves) = (attested.accounts(), attested.leaves());
    let verdict = match (accounts, leaves) {
        (0, _) | (_, 0) => RowVerdict::Fail,
        _ => RowVerdict::Pass,
    };
    let text = format!("{accounts} accounts and {leaves} keys of certificates have evidence");
    findings.add("evidence", verdict, text);
    if let Some(fault) = &gathered.evidence_fault {
        findings.add("evidence", RowVerdict::Fail, fault);
    }
    for line in &gathered.not_attested {
        findings.add("evidence", RowVerdict::Skipped, format!("does not count: {line}"));
    }
}

fn judge_served(
    findings: &mut Findings,
    question: &Question,
    attested: &Attested,
    gathered: &Gathered,
) {
    const CHECK: &str = "served";
    let Some(served) = &gathered.served else {
        return findings.add(CHECK, RowVerdict::Skipped, "the name was not asked");
    };
    let certificate = match served {
        Ok(certificate) => certificate,
        Err(why) => return findings.add(CHECK, RowVerdict::Skipped, why),
    };
    let described = described(certificate);
    if !certificate.names().iter().any(|name| name.covers(&question.name)) {
        let text = format!("{described} is not for {}", question.name);
        return findings.add(CHECK, RowVerdict::Fail, text);
    }
    if !certificate.validity().contains(question.now_secs) {
        return findings.add(CHECK, RowVerdict::Fail, format!("{described} is of another time"));
    }
    match attested.leaf(certificate) {
        None => findings.add(CHECK, RowVerdict::Fail, format!("no evidence for {described}")),
        Some(leaf) if !attested.account(leaf.account_uri()) => {
            let text = format!("no evidence for the account {} of {described}", leaf.account_uri());
            findings.add(CHECK, RowVerdict::Fail, text);
        }
        Some(leaf) => {
            let text = format!("{described}, of the account {}", leaf.account_uri());
            findings.add(CHECK, RowVerdict::Pass, text);
        }
    }
}

fn judge_caa(findings: &mut Findings, attested: &Attested, gathered: &Gathered) {
    const CHECK: &str = "caa";
    let mut views = Vec::new();
    for view in &gathered.caa {
        match view {
            Ok(relevant) => views.push(relevant),
            Err(why) => findings.add(CHECK, RowVerdict::Skipped, why),
        }
    }
    let Some((first, others)) = views.split_first() else {
        return findings.add(CHECK, RowVerdict::Skipped, "no resolver was asked");
    };
    if others.iter().any(|other| other != first) {
        findings.add(CHECK, RowVerdict::Fail, "the resolvers give different records");
    }
    let mut strangers = Vec::new();
    for view in &views {
        for (record, stranger) in permissions(view, attested) {
            if stranger && !strangers.contains(&record) {
                strangers.push(record);
            }
        }
    }
    for record in &strangers {
        let text = format!("{} also permits {record}", first.at);
        findings.add(CHECK, RowVerdict::Fail, text);
    }
    // Without a record for hosts anybody may issue for them.
    let restricts = first.records.iter().any(|record| record.tag == Property::Issue.tag());
    if !restricts {
        let text = format!("no record of {} restricts who may issue", first.at);
        findings.add(CHECK, RowVerdict::Fail, text);
    } else if strangers.is_empty() {
        let text = format!("{} permits accounts with evidence alone", first.at);
        findings.add(CHECK, RowVerdict::Pass, text);
    }
}

/// Records that permit somebody, and whether that is somebody without evidence.
fn permissions(view: &Relevant, attested: &Attested) -> Vec<(String, bool)> {
    let about = view.records.iter().filter_map(|record| {
        let (_, value) = record.issue()?;
        let value = value.ok()?;
        value.issuer()?;
        let bound = value.parameter("accounturi").is_some_and(|uri| attested.account(uri))
            && value.parameter("validationmethods") == Some(VALIDATION_METHOD);
        Some((record.to_string(), !bound))
    });
    about.collect()
}

fn judge_logged(
    findings: &mut Findings,
    question: &Question,
    attested: &Attested,
    gathered: &Gathered,
) {
    const CHECK: &str = "logged";
    for source in &gathered.unread {
        findings.add(CHECK, RowVerdict::Skipped, source);
    }
    let mut good = 0;
    for Logged { source, certificate } in &gathered.logged {
        let certificate = match certificate {
            Ok(certificate) => certificate,
            Err(why) => {
                findings.add(CHECK, RowVerdict::Fail, format!("{source} cannot be read: {why}"));
                continue;
            }
        };
        let concerns = certificate.names().iter().any(|name| name.covers(&question.name));
        if !concerns || certificate.validity().not_after_secs < question.since_secs {
            continue;
        }
        match attested.leaf(certificate) {
            Some(leaf) if attested.account(leaf.account_uri()) => good += 1,
            _ => {
                let text = format!("no evidence for {}, {source}", described(certificate));
                findings.add(CHECK, RowVerdict::Fail, text);
            }
        }
    }
    if gathered.unread.is_empty() && good > 0 {
        let text = format!("{good} logged certificates for the name have evidence");
        findings.add(CHECK, RowVerdict::Pass, text);
    } else if gathered.unread.is_empty() && gathered.logged.is_empty() {
        findings.add(CHECK, RowVerdict::Skipped, "no logged certificate was found");
    }
}

/// A certificate, as a person finds it again.
fn described(certificate: &Certificate) -> String {
    let names: Vec<String> = certificate.names().iter().map(ToString::to_string).collect();
    format!(
        "the certificate {} of {} for {}",
        hex::encode(certificate.serial()),
        certificate.issuer(),
        names.join(", ")
    )
}

#[cfg(test)]
mod tests;
