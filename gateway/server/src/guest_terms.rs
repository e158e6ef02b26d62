//! What the gateway's file asks of guests that dial: images and a policy, out of the measured files
//! that it names.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use attestation::TrustAnchor;
use attestation::policy::{ExpectedReportData, Policy, Rules, RulesError, TdRules};

use crate::config::Guests;
use crate::guests::Terms;

/// Largest policy, as `attestation` reads it, and a byte.
const MAX_POLICY_BYTES: u64 = (64 << 10) + 1;
/// Largest `image.json`, as `protocol` reads it, and a byte.
const MAX_IMAGE_BYTES: u64 = protocol::image::MAX_BYTES as u64 + 1;

/// Why nothing is known of guests.
#[derive(Debug, thiserror::Error)]
pub enum TermsError {
    /// a file
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// a text that is none
    #[error("{0} is no UTF-8 text")]
    Text(String),
    /// a policy that is none
    #[error("the policy for guests' platforms")]
    Policy(#[from] RulesError),
    /// rules that no gateway applies
    #[error("the policy for guests' platforms has rules about {0}, which are the KMS's")]
    Beyond(&'static str),
}

/// The terms, and the texts of the images.
///
/// # Errors
/// If a file cannot be read, or the policy says more than counts here.
pub fn read(guests: &Guests) -> Result<(Terms, Vec<String>), TermsError> {
    let images = guests.images.iter().map(|path| {
        let bytes = bounded(path, MAX_IMAGE_BYTES)?;
        String::from_utf8(bytes).map_err(|_| TermsError::Text(path.display().to_string()))
    });
    let images = images.collect::<Result<_, _>>()?;
    let rules = match &guests.policy {
        Some(path) => Rules::parse(&bounded(path, MAX_POLICY_BYTES)?)?,
        None => Rules::default(),
    };
    let unstated = ExpectedReportData::Unstated("each connection has its own".to_owned());
    let policy = rules.into_policy(TrustAnchor::Intel, unstated);
    if let Some(what) = beyond(&policy) {
        return Err(TermsError::Beyond(what));
    }
    if matches!(policy.anchor, TrustAnchor::DangerEmulated(_)) {
        tracing::warn!(
            "danger: an emulator's root is trusted for guests: their quotes prove nothing"
        );
    }
    let Policy { anchor, platform, .. } = policy;
    Ok((Terms { anchor, platform, minimum_epoch: guests.minimum_epoch }, images))
}

/// What a policy has besides root and platforms: who may get keys is the KMS's policy.
fn beyond(policy: &Policy) -> Option<&'static str> {
    let rows = [
        (policy.td != TdRules::default(), "attributes"),
        (policy.images.is_some(), "images"),
        (policy.apps.is_some(), "apps"),
        (!policy.required_events.is_empty() || !policy.forbidden_events.is_empty(), "events"),
    ];
    rows.into_iter().find_map(|(found, what)| found.then_some(what))
}

fn bounded(path: &Path, most: u64) -> Result<Vec<u8>, TermsError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    read.map_err(|source| TermsError::File { path: path.display().to_string(), source })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(policy: &str) -> Result<Terms, TermsError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), policy).unwrap();
        let policy = Some(file.path().to_owned());
        read(&Guests { images: Vec::new(), policy, minimum_epoch: 2 }).map(|(terms, _)| terms)
    }

    #[test]
    fn a_policy_is_about_platforms_and_what_else_it_says_is_refused() {
        let found = terms("version = 1\nminimum_tcb_evaluation_number = 17\n").unwrap();
        assert_eq!((found.anchor, found.minimum_epoch), (TrustAnchor::Intel, 2));
        assert_eq!(found.platform.minimum_evaluation_number, Some(17));
        for (more, what) in [("os_image_hashes = []", "images"), ("compose_hashes = []", "apps")] {
            let refused = terms(&format!("version = 1\n{more}\n"));
            assert!(matches!(refused, Err(TermsError::Beyond(found)) if found == what));
        }
        let events = "version = 1\n[[forbid_event]]\nname = \"a\"\n";
        assert!(matches!(terms(events), Err(TermsError::Beyond("events"))));
        assert!(matches!(terms("version = 2"), Err(TermsError::Policy(_))));
    }
}
