//! Asking a guest's agent over its public port. Whatever answers is believed only as far as
//! evidence proves.

use std::io::Read;
use std::time::Duration;

use protocol::evidence;
use protocol::report_data::NONCE_BYTES;
use serde::Deserialize;

use crate::failure::{Failure, Hint as _, Outcome};

/// Longest time for one answer: a quote takes well below a second, a loaded emulated guest a few.
pub const TIMEOUT: Duration = Duration::from_secs(60);
/// Longest refusal: two sentences.
const MAX_REFUSAL_BYTES: u64 = 16 * 1024;
/// What to try where a guest does not answer.
pub const HINT: &str = "is the guest running? `dstyx ps` and `dstyx logs NAME` tell";

/// Fetches evidence over a fresh nonce; both are returned.
pub fn evidence(url: &str) -> Outcome<([u8; NONCE_BYTES], Vec<u8>)> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce)
        .map_err(|error| Failure::new(error, "the system gives no random numbers"))?;
    let address = address(url, &format!("/evidence?nonce={}", hex::encode(nonce)));
    Ok((nonce, get(&address, evidence::MAX_BYTES)?))
}

/// The address of a path.
pub fn address(url: &str, path: &str) -> String {
    format!("{}{path}", url.trim_end_matches('/'))
}

fn get(address: &str, limit: usize) -> Outcome<Vec<u8>> {
    bounded(open(address, Some(TIMEOUT))?.into_reader(), address, limit)
}

/// All of an answer of at most `limit` bytes.
pub fn bounded(reader: impl Read, address: &str, limit: usize) -> Outcome<Vec<u8>> {
    let limit = limit as u64;
    let mut body = Vec::new();
    reader.take(limit + 1).read_to_end(&mut body).hint(address, HINT)?;
    if body.len() as u64 > limit {
        let what = format!("{address} sends more than {limit} bytes");
        return Err(Failure::new(what, "this is not a dstyx guest"));
    }
    Ok(body)
}

/// The body of an answer that is no refusal; `timeout` is for all of it.
pub fn open(address: &str, timeout: Option<Duration>) -> Outcome<ureq::Body> {
    let response = agent(timeout, TIMEOUT).get(address).call();
    answered(address, response.hint(format!("asking {address}"), HINT)?)
}

/// Asks guests: `timeout` is for all of an answer, `begins` for its beginning.
pub fn agent(timeout: Option<Duration>, begins: Duration) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .tls_config(reproducible_build::tls::config())
        .timeout_global(timeout)
        .timeout_connect(Some(TIMEOUT))
        .timeout_recv_response(Some(begins))
        .http_status_as_error(false)
        .proxy(None);
    config.build().into()
}

/// The body of an answer, if it is no refusal.
pub fn answered(address: &str, response: ureq::http::Response<ureq::Body>) -> Outcome<ureq::Body> {
    match response.status().as_u16() {
        200 | 201 => Ok(response.into_body()),
        status => Err(refused(address, status, response.into_body().into_reader())),
    }
}

/// The answer to JSON that is posted, unless it is a refusal.
pub fn post(address: &str, json: &[u8], limit: usize) -> Outcome<Vec<u8>> {
    let config = ureq::Agent::config_builder()
        .tls_config(reproducible_build::tls::config())
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .proxy(None);
    let agent: ureq::Agent = config.build().into();
    let request = agent.post(address).content_type("application/json");
    let response = request.send(json).hint(format!("asking {address}"), HINT)?;
    match response.status().as_u16() {
        200 => bounded(response.into_body().into_reader(), address, limit),
        status => Err(refused(address, status, response.into_body().into_reader())),
    }
}

/// What the guest itself says, where it does.
pub fn refused(address: &str, status: u16, body: impl Read) -> Failure {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
        hint: String,
    }

    let mut text = Vec::new();
    let read = body.take(MAX_REFUSAL_BYTES).read_to_end(&mut text);
    match read.ok().and_then(|_| serde_json::from_slice::<Refusal>(&text).ok()) {
        Some(Refusal { error, hint }) => Failure::new(format!("the guest says: {error}"), hint),
        None => Failure::new(format!("{address}: status {status}"), HINT),
    }
}
