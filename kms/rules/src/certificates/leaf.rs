//! `SignCert`: a leaf under an app's authority.

use protocol::kms::SignCertRequest;
use protocol::ra_tls;
use x509_cert::der::asn1::Ia5String;
use x509_cert::der::oid::db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};
use x509_cert::ext::ToExtension as _;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectAltName};

use super::authority::{AppAuthority, Template, octets};
use super::names::{self, is_like_a_host};
use super::request::Asked;
use super::{CertificateError, CertificateRefusal, Window};
use crate::refused::Refused;

/// How long a leaf is valid where nothing is asked for: certificates are fetched when a container
/// starts, and nothing revokes one.
const DEFAULT_SECS: u64 = 365 * 24 * 3600;
/// How much earlier than now a leaf begins where nothing is asked for: clocks of clients are late.
const CLOCK_SLACK_SECS: u64 = 3600;

impl AppAuthority {
    /// Issues what the app's guest asks for: PEM of the leaf, of this authority and of the
    /// cluster's. `may_certify` decides on the names that are not the app's own, and is asked even
    /// where there are none ([`crate::state::certify`]).
    ///
    /// # Errors
    /// If the request is malformed or not signed by its key, or asks for what no request may have
    /// (see the rules of [`crate::certificates`]), or the decision is a refusal.
    pub fn sign(
        &self,
        request: &SignCertRequest,
        may_certify: impl FnOnce(&[String]) -> Result<(), Refused>,
        now_secs: u64,
    ) -> Result<Vec<String>, CertificateRefusal> {
        let asked = Asked::read(&request.csr)?;
        let own = ra_tls::internal_name(&self.app_id);
        let like_a_host = asked.common_name.iter().filter(|name| is_like_a_host(name));
        let mut others: Vec<_> = asked.names.iter().chain(like_a_host).cloned().collect();
        others.retain(|name| *name != own);
        may_certify(&others)?;
        let leaf = self.certify(&asked, own, self.validity(request, now_secs)?)?;
        Ok(vec![leaf, self.pem().to_owned(), self.root_pem().to_owned()])
    }

    fn certify(
        &self,
        asked: &Asked,
        own: String,
        validity: Window,
    ) -> Result<String, CertificateError> {
        let mut names = asked.names.clone();
        if !names.contains(&own) {
            names.push(own);
        }
        let dns = |name: &String| Ok(GeneralName::DnsName(Ia5String::new(name)?));
        let names: x509_cert::der::Result<Vec<_>> = names.iter().map(dns).collect();
        let mut usages = asked.usages.clone();
        if usages.is_empty() {
            usages = vec![ID_KP_SERVER_AUTH, ID_KP_CLIENT_AUTH];
        }
        // A certificate that was asked for without a subject still has one.
        let common_name = asked.common_name.clone();
        let common_name = common_name.unwrap_or_else(|| format!("dstyx app {}", self.app_id));
        let subject = names::common_name(&common_name)?;
        let mut extensions = vec![
            SubjectAltName(names?).to_extension(&subject, &[])?,
            ExtendedKeyUsage(usages).to_extension(&subject, &[])?,
            octets(ra_tls::APP_ID, &self.app_id.0)?,
            octets(ra_tls::CERTIFICATE_USAGE, ra_tls::USAGE_APP.as_bytes())?,
        ];
        extensions.extend(asked.evidence.iter().cloned());
        let leaf = Template { subject, validity, path_length: None, extensions };
        self.signer.certify(&asked.public_key, &leaf)
    }

    fn validity(
        &self,
        request: &SignCertRequest,
        now_secs: u64,
    ) -> Result<Window, CertificateRefusal> {
        let authority = self.signer.validity;
        let usual = Window {
            from_secs: now_secs.saturating_sub(CLOCK_SLACK_SECS).max(authority.from_secs),
            until_secs: now_secs.saturating_add(DEFAULT_SECS).min(authority.until_secs),
        };
        let asked = Window {
            from_secs: request.not_before.unwrap_or(usual.from_secs),
            until_secs: request.not_after.unwrap_or(usual.until_secs),
        };
        let after_secs = asked.from_secs.max(now_secs);
        if asked.until_secs <= after_secs {
            return Err(CertificateRefusal::Expired { until_secs: asked.until_secs, after_secs });
        }
        match authority.contains(&asked) {
            true => Ok(asked),
            false => Err(CertificateRefusal::BeyondAuthority { asked, authority }),
        }
    }
}
