//! Asking a guest's agent for evidence. Whatever answers is believed only as far as the evidence proves.

use std::io::Read as _;
use std::time::Duration;

use protocol::evidence;
use protocol::report_data::NONCE_BYTES;

use crate::failure::{Failure, Hint as _, Outcome};

/// Longest time for one answer: a quote takes well below a second, a loaded emulated guest a few.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Fetches evidence over a fresh nonce; both are returned.
pub fn evidence(url: &str) -> Outcome<([u8; NONCE_BYTES], Vec<u8>)> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce).map_err(|error| Failure::new(error, "the system gives no random numbers"))?;
    let address = format!("{}/evidence?nonce={}", url.trim_end_matches('/'), hex::encode(nonce));
    Ok((nonce, get(&address)?))
}

fn get(address: &str) -> Outcome<Vec<u8>> {
    const HINT: &str = "is the guest running? `dstyx ps` and `dstyx logs NAME` tell";
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).proxy(None).build().into();
    let response = agent.get(address).call().hint(format!("asking {address}"), HINT)?;
    let limit = evidence::MAX_BYTES as u64;
    let mut body = Vec::new();
    response.into_body().into_reader().take(limit + 1).read_to_end(&mut body).hint(address, HINT)?;
    if body.len() as u64 > limit {
        let what = format!("{address} sends more than {limit} bytes");
        return Err(Failure::new(what, "this is not a dstyx guest's evidence"));
    }
    Ok(body)
}
