//! Evidence as it comes: from a guest that was asked just now, or from files of any format that
//! `protocol::foreign` reads.
//!
//! Every file that took part in a judgement is noted with its digest, so that an appraisal can say
//! what it is about.

use std::path::{Path, PathBuf};

use attestation::policy::ExpectedReportData;
use protocol::digest::Sha256Digest;
use protocol::evidence::{self, Evidence};
use protocol::foreign::{self, Converted, Format};
use protocol::report_data::NONCE_BYTES;

use super::Source;
use crate::failure::{Failure, Hint as _, Outcome};
use crate::{endpoint, files};

/// Bytes that took part in a judgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// As what.
    pub what: &'static str,
    /// Where they came from: a path or an address.
    pub from: String,
    /// SHA-256 of exactly those bytes.
    pub sha256: Sha256Digest,
}

impl Input {
    /// Notes these bytes.
    pub fn of(what: &'static str, from: impl ToString, bytes: &[u8]) -> Self {
        Self { what, from: from.to_string(), sha256: Sha256Digest::of(bytes) }
    }
}

/// Evidence in our form, and how it came.
#[derive(Debug, Clone)]
pub struct Gathered {
    /// The evidence.
    pub converted: Converted,
    /// What it was read from.
    pub inputs: Vec<Input>,
    /// The nonce of the request, where a guest was asked.
    fresh: Option<[u8; NONCE_BYTES]>,
}

/// Asks the guest, or reads the files; `logs` are event logs beside a raw quote.
pub fn gather(source: &Source, logs: &[PathBuf]) -> Outcome<Gathered> {
    match source {
        Source::Vm(vm) => ask(&vm.agent_url),
        Source::Url(url) => ask(url),
        Source::File(path) => read(path, logs),
    }
}

impl Gathered {
    /// What a guest proved on a channel; its report data, the channel's own, is to be stated.
    pub fn of_channel(evidence: Evidence) -> Self {
        Self { converted: Converted::of_ours(evidence), inputs: Vec::new(), fresh: None }
    }

    /// As what the evidence was read, and what it lacks.
    pub fn described(&self) -> String {
        let format = self.converted.format;
        if format == Format::RawQuote && self.converted.evidence.event_log.is_empty() {
            return format!(
                "{format} without an event log (--event-log gives one): no event can be found in it"
            );
        }
        match self.converted.undescribed {
            Some(key) => format!(
                "{format}; {key} in its vm_config is of a machine that no prediction describes: state one with --vcpus and so on"
            ),
            None => format.to_string(),
        }
    }

    /// What the quote must have been made for: what a person stated, else the nonce with which the
    /// guest was asked. A nonce that came with a file is its sender's.
    pub fn report_data(&self, stated: Option<ExpectedReportData>) -> ExpectedReportData {
        match (stated, self.fresh) {
            (Some(stated), _) => stated,
            (None, Some(nonce)) => ExpectedReportData::Nonce(nonce),
            (None, None) => ExpectedReportData::Unstated(self.unstated()),
        }
    }

    fn unstated(&self) -> String {
        if self.converted.has_nonce() {
            return "the nonce beside the quote is the sender's own: state yours with --nonce, or ask the guest".to_owned();
        }
        let format = self.converted.format;
        let says = match &self.converted.stated_report_data {
            Some(bytes) => format!("; its sender says that it was made for {}", hex::encode(bytes)),
            None => String::new(),
        };
        format!(
            "{format} has no nonce of ours: state with --report-data what the quote should have been made for{says}"
        )
    }
}

fn ask(url: &str) -> Outcome<Gathered> {
    let (nonce, json) = endpoint::evidence(url)?;
    let evidence =
        evidence::parse(&json).hint("the evidence", "is this a dstyx guest's evidence, whole?")?;
    let converted = Converted::of_ours(evidence);
    Ok(Gathered { converted, inputs: vec![Input::of("evidence", url, &json)], fresh: Some(nonce) })
}

fn read(path: &Path, logs: &[PathBuf]) -> Outcome<Gathered> {
    let file = files::read_bounded(path, foreign::MAX_BYTES as u64)?;
    let mut inputs = vec![Input::of("evidence", path.display(), &file)];
    let mut texts = Vec::new();
    for log in logs {
        let text = files::read_bounded(log, protocol::event_log::MAX_LOG_BYTES as u64)?;
        inputs.push(Input::of("event log", log.display(), &text));
        texts.push(text);
    }
    let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
    let converted = foreign::read(&file, &texts).map_err(|error| {
        Failure::new(
            format!("{}: {error}", path.display()),
            "give evidence whole, in a format that docs/evidence.md lists",
        )
    })?;
    Ok(Gathered { converted, inputs, fresh: None })
}
