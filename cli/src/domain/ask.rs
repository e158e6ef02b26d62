//! Bounded requests to resolvers, aggregators, logs and gateways, none of which is believed.

use std::io::Read as _;
use std::time::Duration;

use gateway_audit::findings::Relevant;
use gateway_domain::dns::{MAX_MESSAGE_BYTES, Question};
use gateway_domain::name::DomainName;
use pccs::Roots;
use protocol::error::chain;

/// For one answer: aggregators take long for names with many certificates.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The type of questions to resolvers (RFC 8484).
const DNS_MESSAGE: &str = "application/dns-message";

/// Asks over HTTPS.
#[derive(Debug)]
pub struct Asker {
    agent: ureq::Agent,
}

impl Asker {
    /// Believes servers by these roots.
    pub fn new(roots: &Roots) -> Self {
        let config = ureq::Agent::config_builder()
            .tls_config(roots.tls_config())
            .https_only(true)
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .http_status_as_error(false);
        Self { agent: config.build().into() }
    }

    /// The body of an answer with status 200.
    pub fn get(&self, url: &str, most_bytes: usize) -> Result<Vec<u8>, String> {
        let answer =
            self.agent.get(url).call().map_err(|error| format!("{url}: {}", chain(&error)))?;
        body(url, answer, most_bytes)
    }

    fn dns(&self, url: &str, question: &Question) -> Result<Vec<u8>, String> {
        let request = self.agent.post(url).content_type(DNS_MESSAGE).header("accept", DNS_MESSAGE);
        let answer = request.send(question.to_bytes());
        body(url, answer.map_err(|error| format!("{url}: {}", chain(&error)))?, MAX_MESSAGE_BYTES)
    }
}

/// The CAA records that count for a name, by a resolver: those of the closest name upwards that has
/// any (RFC 8659, 3).
pub fn relevant(asker: &Asker, url: &str, name: &DomainName) -> Result<Relevant, String> {
    let mut at = name.clone();
    loop {
        let question = Question::caa(&at);
        let answer = asker.dns(url, &question)?;
        let records = question.caa_records(&answer);
        let records = records.map_err(|error| format!("{url}: {}", chain(&error)))?;
        match (records.is_empty(), at.parent()) {
            (true, Some(parent)) => at = parent,
            _ => return Ok(Relevant { at, records }),
        }
    }
}

fn body(
    url: &str,
    answer: ureq::http::Response<ureq::Body>,
    most_bytes: usize,
) -> Result<Vec<u8>, String> {
    if answer.status() != 200 {
        return Err(format!("{url}: status {}", answer.status()));
    }
    let mut bytes = Vec::new();
    let mut reader = answer.into_body().into_reader().take(most_bytes as u64 + 1);
    reader.read_to_end(&mut bytes).map_err(|error| format!("{url}: {error}"))?;
    match bytes.len() > most_bytes {
        true => Err(format!("{url} sends more than {most_bytes} bytes")),
        false => Ok(bytes),
    }
}
