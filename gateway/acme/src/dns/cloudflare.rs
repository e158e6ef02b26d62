//! Zones at Cloudflare, by version 4 of its interface
//! (developers.cloudflare.com/api/resources/dns/subresources/records).

use gateway_domain::caa::{self, Caa};
use gateway_domain::name::DomainName;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ureq::http::{Method, Request, header};
use zeroize::Zeroizing;

use super::{Provider, ProviderError, TTL_SECS};
use crate::http::{Client, MAX_BODY_BYTES, Trust};

/// The interface.
pub const API: &str = "https://api.cloudflare.com/client/v4";
/// Records of one kind at one name that are asked for, more than there may be.
const PER_PAGE: usize = 2 * caa::MAX_RECORDS;

/// A zone, with a token that may change its records.
pub struct Cloudflare {
    api: String,
    zone_id: String,
    token: Zeroizing<String>,
    client: Client,
}

#[derive(Deserialize)]
struct Envelope<T> {
    success: bool,
    #[serde(default)]
    errors: Vec<Reason>,
    result: Option<T>,
}

#[derive(Deserialize)]
struct Reason {
    message: String,
}

#[derive(Deserialize)]
struct Found {
    id: String,
    #[serde(default)]
    content: String,
    data: Option<CaaData>,
}

#[derive(Deserialize)]
struct CaaData {
    flags: u8,
    tag: String,
    value: String,
}

impl Cloudflare {
    /// A zone by the id that Cloudflare shows; asks nothing yet.
    ///
    /// # Errors
    /// If the id is of another form.
    pub fn new(
        api: &str,
        zone_id: &str,
        token: Zeroizing<String>,
        trust: &Trust,
    ) -> Result<Self, ProviderError> {
        // It becomes a part of addresses.
        if zone_id.is_empty() || !zone_id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(ProviderError::Form("a zone's id has letters and digits".to_owned()));
        }
        let (api, zone_id) = (api.to_owned(), zone_id.to_owned());
        Ok(Self { api, zone_id, token, client: Client::new(trust) })
    }

    fn found(&self, kind: &str, name: &DomainName) -> Result<Vec<Found>, ProviderError> {
        let query = format!("?type={kind}&name={name}&per_page={PER_PAGE}");
        self.ask(Method::GET, &query, None)
    }

    fn add(&self, record: &Value) -> Result<(), ProviderError> {
        let _: Value = self.ask(Method::POST, "", Some(record))?;
        Ok(())
    }

    /// Removes the one record that is exactly meant; none is fine, as after a lost answer.
    fn remove(&self, found: Option<Found>) -> Result<(), ProviderError> {
        let Some(found) = found else { return Ok(()) };
        if !found.id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(ProviderError::Form("a record's id has letters and digits".to_owned()));
        }
        let _: Value = self.ask(Method::DELETE, &format!("/{}", found.id), None)?;
        Ok(())
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        rest: &str,
        body: Option<&Value>,
    ) -> Result<T, ProviderError> {
        let url = format!("{}/zones/{}/dns_records{rest}", self.api, self.zone_id);
        let token = Zeroizing::new(format!("Bearer {}", *self.token));
        let mut authorization = header::HeaderValue::from_str(&token)
            .map_err(|_| ProviderError::Form("the token has other characters".to_owned()))?;
        authorization.set_sensitive(true);
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header(header::AUTHORIZATION, authorization)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.map(|body| body.to_string().into_bytes()).unwrap_or_default())
            .map_err(|error| ProviderError::Form(error.to_string()))?;
        let answer = self.client.send(request)?;
        let envelope: Envelope<T> = protocol::strict_json::parse(&answer.body, MAX_BODY_BYTES)
            .map_err(|error| ProviderError::Form(format!("status {}: {error}", answer.status)))?;
        match envelope {
            Envelope { success: true, result: Some(result), .. } => Ok(result),
            Envelope { errors, .. } => {
                let reasons: Vec<String> =
                    errors.into_iter().map(|reason| reason.message).collect();
                Err(ProviderError::Refused(format!(
                    "status {}: {}",
                    answer.status,
                    reasons.join("; ")
                )))
            }
        }
    }
}

impl Found {
    fn caa(&self) -> Result<Caa, ProviderError> {
        let data = self.data.as_ref();
        let data =
            data.ok_or_else(|| ProviderError::Form("a CAA record without data".to_owned()))?;
        Ok(Caa::new(data.flags, &data.tag, data.value.as_bytes())?)
    }
}

impl Provider for Cloudflare {
    fn caa(&self, name: &DomainName) -> Result<Vec<Caa>, ProviderError> {
        self.found("CAA", name)?.iter().map(Found::caa).collect()
    }

    fn add_caa(&self, name: &DomainName, record: &Caa) -> Result<(), ProviderError> {
        let value = String::from_utf8_lossy(&record.value);
        let data = json!({ "flags": record.flags, "tag": record.tag, "value": value });
        self.add(&json!({ "type": "CAA", "name": name.as_str(), "ttl": TTL_SECS, "data": data }))
    }

    fn remove_caa(&self, name: &DomainName, record: &Caa) -> Result<(), ProviderError> {
        let found = self.found("CAA", name)?;
        let meant = |found: &Found| found.caa().is_ok_and(|caa| caa == *record);
        self.remove(found.into_iter().find(meant))
    }

    fn add_text(&self, name: &DomainName, text: &str) -> Result<(), ProviderError> {
        let content = format!("\"{text}\"");
        self.add(&json!({
            "type": "TXT", "name": name.as_str(), "ttl": TTL_SECS, "content": content,
        }))
    }

    fn remove_text(&self, name: &DomainName, text: &str) -> Result<(), ProviderError> {
        let found = self.found("TXT", name)?;
        let meant = |found: &Found| found.content.trim_matches('"') == text;
        self.remove(found.into_iter().find(meant))
    }
}

#[cfg(test)]
mod tests;
