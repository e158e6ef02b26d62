//! Keys that a gateway's guest is proved to hold.

use std::collections::BTreeSet;

use attestation::VerifiedEvidence;
use gateway_domain::certificate::Certificate;
use gateway_domain::published::{Entry, Leaf, Subject};
use protocol::digest::AppId;

/// Evidence counts for certificates that begin at most so long before or after it was made: it is
/// made right after the certificate, whose authority may set its beginning back by hours.
pub const MAX_APART_SECS: u64 = 7 * 86_400;

/// Whose evidence counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// The id of the gateway's app.
    pub app_id: AppId,
    /// The id of the KMS that gives it its keys, in hex; none if no one is asked for.
    pub key_provider_id: Option<String>,
}

/// Keys with evidence. Holding one proves of each: a guest of the gateway's app, as far as the
/// verifier's policy judged it, asked for a quote over that key.
#[derive(Debug, Clone, Default)]
pub struct Attested {
    accounts: BTreeSet<String>,
    leaves: Vec<(Leaf, u64)>,
}

/// Why evidence is none of the gateway's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAttested {
    /// a quote over something else
    #[error("the quote was made over something else")]
    ReportData,
    /// a guest of another app
    #[error("the guest has the app id {found}, expected {expected}")]
    App {
        /// Its app.
        found: AppId,
        /// The gateway's.
        expected: AppId,
    },
    /// keys of another KMS
    #[error("the guest has its keys from {found:?}, expected {expected:?}")]
    KeyProvider {
        /// The id in its log.
        found: String,
        /// The pinned one.
        expected: String,
    },
    /// an app whose containers may leave their confinement
    #[error("the guest is privileged: any of its containers may have asked for the quote")]
    Privileged,
}

impl Attested {
    /// Takes the key of a line whose evidence was judged, at the line's time, by the verifier's
    /// policy.
    ///
    /// # Errors
    /// If the evidence is not about that key, or not of the gateway.
    pub fn add(
        &mut self,
        entry: &Entry,
        verified: &VerifiedEvidence,
        gateway: &Gateway,
    ) -> Result<(), NotAttested> {
        if verified.report().report_data != entry.subject.report_data() {
            return Err(NotAttested::ReportData);
        }
        let found = verified.app().app_id;
        if found != gateway.app_id {
            return Err(NotAttested::App { found, expected: gateway.app_id });
        }
        if verified.privileged() {
            return Err(NotAttested::Privileged);
        }
        if let Some(expected) = &gateway.key_provider_id {
            let found = verified.key_provider().map(|provider| provider.id.clone());
            let found = found.unwrap_or_default();
            if found != *expected {
                return Err(NotAttested::KeyProvider { found, expected: expected.clone() });
            }
        }
        match &entry.subject {
            Subject::Account(account) => {
                self.accounts.insert(account.uri().to_owned());
            }
            Subject::Leaf(leaf) => self.leaves.push((leaf.clone(), entry.made_secs)),
        }
        Ok(())
    }

    /// Whether an account has evidence.
    pub fn account(&self, uri: &str) -> bool {
        self.accounts.contains(uri)
    }

    /// Number of keys of certificates.
    pub fn leaves(&self) -> usize {
        self.leaves.len()
    }

    /// Number of accounts.
    pub fn accounts(&self) -> usize {
        self.accounts.len()
    }

    /// The evidence of a certificate's key, for these names and about that time.
    pub fn leaf(&self, certificate: &Certificate) -> Option<&Leaf> {
        let begins = certificate.validity().not_before_secs;
        let about = |(leaf, made_secs): &&(Leaf, u64)| {
            leaf.spki() == certificate.spki()
                && certificate.names().iter().all(|name| leaf.names().contains(name))
                && made_secs.abs_diff(begins) <= MAX_APART_SECS
        };
        self.leaves.iter().find(about).map(|(leaf, _)| leaf)
    }
}

#[cfg(test)]
mod tests {
    use ::tests::emulated::Emulated;

    use super::*;
    use crate::fixtures::{account, add, certificate, entry, gateway, guest, verified};

    #[test]
    fn a_key_counts_with_a_quote_of_the_gateway_over_it() {
        let made = certificate(&["a.example.org"]);
        let leaf = entry(guest(), made.leaf.clone());
        assert_eq!(add(guest(), &leaf, &gateway()), Ok(()));
        let mut attested = Attested::default();
        attested.add(&leaf, &verified(guest(), &leaf), &gateway()).unwrap();
        assert!(attested.leaf(&made.certificate).is_some());
        assert!(attested.leaf(&certificate(&["a.example.org"]).certificate).is_none());
    }

    #[test]
    fn a_quote_over_something_else_proves_no_key() {
        let leaf = entry(guest(), certificate(&["a.example.org"]).leaf);
        let quoted = entry(guest(), account());
        let claimed = Entry { subject: leaf.subject, ..quoted.clone() };
        let refused = Attested::default().add(&claimed, &verified(guest(), &quoted), &gateway());
        assert_eq!(refused, Err(NotAttested::ReportData));
    }

    #[test]
    fn another_app_s_guest_proves_no_key_of_the_gateway() {
        let other = Emulated::new("another", true);
        let leaf = entry(&other, certificate(&["a.example.org"]).leaf);
        assert!(matches!(add(&other, &leaf, &gateway()), Err(NotAttested::App { .. })));
        let pinned = Gateway { key_provider_id: Some("ab".repeat(32)), ..gateway() };
        let leaf = entry(guest(), certificate(&["a.example.org"]).leaf);
        assert!(matches!(add(guest(), &leaf, &pinned), Err(NotAttested::KeyProvider { .. })));
    }

    #[test]
    fn evidence_of_another_time_or_for_other_names_is_none_for_a_certificate() {
        let made = certificate(&["a.example.org"]);
        let mut attested = Attested::default();
        let mut old = entry(guest(), made.leaf.clone());
        let judged = verified(guest(), &old);
        old.made_secs -= 30 * 86_400;
        attested.add(&old, &judged, &gateway()).unwrap();
        assert!(attested.leaf(&made.certificate).is_none());
        let Subject::Leaf(leaf) = &made.leaf else { panic!() };
        let names = vec!["b.example.org".parse().unwrap()];
        let other = Leaf::new(leaf.account_uri().to_owned(), names, leaf.spki().to_vec()).unwrap();
        let other = entry(guest(), Subject::Leaf(other));
        attested.add(&other, &verified(guest(), &other), &gateway()).unwrap();
        assert!(attested.leaf(&made.certificate).is_none());
    }
}
