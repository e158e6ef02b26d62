//! Where the webhook is that a KMS asks besides its owners' policy.

use std::fmt;
use std::net::Ipv6Addr;

/// Longest address.
const MAX_BYTES: usize = 256;

/// an address of a webhook that is none
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address of a webhook, expected http:// or https://, HOST, :PORT and /PATH")]
pub struct WebhookError(String);

/// The address of a webhook in dstack's form, to which `/bootAuth/app` and `/bootAuth/kms` are
/// appended. What answers there can take away only, so `http` is accepted too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookAddress(String);

impl WebhookAddress {
    /// Reads `http://HOST`, with a port and a path if there are any, and nothing else.
    ///
    /// # Errors
    /// If it has another form, or more than 256 bytes.
    pub fn parse(text: &str) -> Result<Self, WebhookError> {
        let wrong = || WebhookError(text.chars().take(MAX_BYTES).collect());
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let rest = rest.filter(|_| text.len() <= MAX_BYTES).ok_or_else(wrong)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
        if !is_authority(authority) || !path.bytes().all(legal) {
            return Err(wrong());
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }

    /// The address of one of its calls, such as `app`.
    pub fn of(&self, call: &str) -> String {
        format!("{}/bootAuth/{call}", self.0)
    }
}

impl fmt::Display for WebhookAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_authority(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() => ("", port),
            _ => return false,
        },
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_host = authority.starts_with('[') || (!host.is_empty() && host.bytes().all(legal));
    let is_port = |digits: &str| {
        digits.bytes().all(|byte| byte.is_ascii_digit())
            && digits.parse::<u16>().is_ok_and(|port| port > 0)
    };
    is_host && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_and_a_host_and_no_query() {
        for (text, app) in [
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000/bootAuth/app"),
            ("https://auth.example/", "https://auth.example/bootAuth/app"),
            ("https://auth.example/of/ours", "https://auth.example/of/ours/bootAuth/app"),
            ("http://[fd00::1]:3000", "http://[fd00::1]:3000/bootAuth/app"),
            ("http://[fd00::1]", "http://[fd00::1]/bootAuth/app"),
        ] {
            assert_eq!(WebhookAddress::parse(text).unwrap().of("app"), app);
        }
        let long = format!("http://{}", "a".repeat(MAX_BYTES));
        for bad in [
            "",
            "auth.example",
            "ftp://a",
            "http://",
            "http:///path",
            "http://a:",
            "http://a:0",
            "http://a:65536",
            "http://a:+1",
            "http://user@a",
            "http://a/?q=1",
            "http://a/#f",
            "http://a/b c",
            "http://[::g]",
            "http://[::1]x",
            " http://a",
            &long,
        ] {
            assert!(WebhookAddress::parse(bad).is_err(), "{bad}");
        }
    }
}
