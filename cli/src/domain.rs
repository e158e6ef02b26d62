//! Gathers what the check of a gateway's name needs, and asks `gateway_audit`.
//!
//! Nothing here decides. Each source is asked within bounds, and one that cannot be read becomes a
//! row that says so.

use std::path::PathBuf;

use gateway_audit::attested::{Attested, Gateway};
use gateway_audit::findings::{Findings, Gathered, Question, judge};
use gateway_audit::kept::Kept;
use gateway_audit::log_list::TiledLog;
use gateway_domain::name::DomainName;
use gateway_domain::published::{self, Head};

use crate::failure::Outcome;

mod ask;
mod evidence;
mod logs;
mod served;
#[cfg(test)]
mod tests;

pub use ask::Asker;
pub use evidence::Judge;

/// Where everything is.
#[derive(Debug)]
pub struct Sources {
    /// The published evidence.
    pub evidence: EvidenceSource,
    /// Where the name is served, if not where it leads.
    pub address: Option<std::net::SocketAddr>,
    /// Resolvers over HTTPS.
    pub resolvers: Vec<String>,
    /// The aggregator.
    pub aggregator: String,
    /// Logs of tiles that are known.
    pub logs: Vec<TiledLog>,
    /// Whether what logs add is read.
    pub watch: bool,
}

/// Where published evidence is.
#[derive(Debug)]
pub enum EvidenceSource {
    /// At an address.
    Url(String),
    /// In a file.
    File(PathBuf),
}

/// One look at a name; `kept` is what was seen before, and is what is seen now afterwards.
pub fn look(
    question: &Question,
    gateway: &Gateway,
    judge_of: &Judge,
    sources: &Sources,
    asker: &Asker,
    kept: &mut Kept,
) -> Outcome<Findings> {
    let text = evidence::read(&sources.evidence, asker)?;
    let mut gathered = Gathered::default();
    let (entries, head) = match published::read(&text, kept.evidence) {
        Ok(read) => read,
        Err(error) => {
            gathered.evidence_fault = Some(protocol::error::chain(&error));
            (Vec::new(), kept.evidence.unwrap_or(Head::EMPTY))
        }
    };
    let mut attested = Attested::default();
    for (line, entry) in (1..).zip(&entries) {
        if let Err(why) = judge_of.attest(entry, gateway, &mut attested)? {
            gathered.not_attested.push(format!("line {line}: {why}"));
        }
    }
    gathered.served = Some(served::certificate(&question.name, sources.address));
    gathered.caa =
        sources.resolvers.iter().map(|url| ask::relevant(asker, url, &question.name)).collect();
    logs::aggregated(asker, &sources.aggregator, &question.name, &mut gathered);
    logs::proved(asker, sources, &question.name, &mut gathered, kept);
    if gathered.evidence_fault.is_none() {
        kept.evidence = Some(head);
    }
    Ok(judge(question, &attested, &gathered))
}

/// Where a gateway's evidence is for a name one label below its base domain.
pub fn default_evidence(name: &DomainName) -> Option<String> {
    Some(format!("https://gateway.{}/.dstyx/evidence", name.parent()?))
}
