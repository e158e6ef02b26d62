//! Certificates of base domains: which are served now, and what a new one must be.
//!
//! A certificate takes the place of another one between two handshakes; connections that are open
//! keep theirs. One that is not for its domain, not of its key or not valid now is refused, and
//! what was served goes on.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use gateway_rules::names::DomainName;
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};

/// A name that each certificate of a base domain must be for: that of any app.
const ANY_APP: &str = "0000000000000000000000000000000000000000";
/// The gateway's own, of which one that lists names instead of a wildcard has to think.
const GATEWAY: &str = "gateway";

/// Why a certificate is not served.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// the chain or the key cannot be used
    #[error("the chain or the key cannot be used")]
    Tls(#[source] rustls::Error),
    /// the key is not that of the certificate
    #[error("the key is not that of the certificate")]
    Key(#[source] rustls::Error),
    /// the certificate is for other names
    #[error("the certificate is not for {0}")]
    Name(String),
    /// the certificate cannot be read
    #[error("the certificate cannot be read")]
    Der(#[from] x509_cert::der::Error),
    /// not valid now
    #[error("the certificate holds from {from} s to {until} s, and it is {now} s")]
    Time {
        /// Seconds since 1970.
        from: u64,
        /// Seconds since 1970.
        until: u64,
        /// Seconds since 1970.
        now: u64,
    },
}

/// What is served under base domains.
#[derive(Debug, Default)]
pub struct Certificates(RwLock<BTreeMap<DomainName, Arc<CertifiedKey>>>);

impl Certificates {
    /// Serves a certificate from the next handshake on. `now` is the time since 1970.
    ///
    /// # Errors
    /// If it is not one of this domain now; then what was served goes on.
    pub fn install(
        &self,
        base: &DomainName,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        now: Duration,
    ) -> Result<(), CertificateError> {
        let key = aws_lc_rs::sign::any_supported_type(&key).map_err(CertificateError::Tls)?;
        let made = CertifiedKey::new(chain, key);
        made.keys_match().map_err(CertificateError::Key)?;
        let leaf = made.end_entity_cert().map_err(CertificateError::Tls)?;
        check_names(leaf, base)?;
        check_time(leaf, now)?;
        let mut served = self.0.write().unwrap_or_else(PoisonError::into_inner);
        served.insert(base.clone(), Arc::new(made));
        Ok(())
    }

    /// What is served under a base domain, as JSON: the digest of the key that a client sees, and
    /// until when its certificate holds.
    pub fn described(&self, base: &DomainName) -> Option<Vec<u8>> {
        let served = self.0.read().unwrap_or_else(PoisonError::into_inner).get(base).cloned()?;
        let certificate = Certificate::from_der(served.cert.first()?).ok()?;
        let tbs = certificate.tbs_certificate();
        let key = tbs.subject_public_key_info().to_der().ok()?;
        let validity = tbs.validity();
        let document = serde_json::json!({
            "base_domain": base.as_str(),
            "spki_sha256": hex::encode(Sha256::digest(&key)),
            "not_before": validity.not_before.to_unix_duration().as_secs(),
            "not_after": validity.not_after.to_unix_duration().as_secs(),
        });
        Some(document.to_string().into_bytes())
    }

    fn of(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let (_, base) = name.split_once('.')?;
        let base = DomainName::parse(base).ok()?;
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&base).cloned()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.of(hello.server_name()?)
    }
}

fn check_names(leaf: &CertificateDer<'_>, base: &DomainName) -> Result<(), CertificateError> {
    let parsed = ParsedCertificate::try_from(leaf).map_err(CertificateError::Tls)?;
    for label in [ANY_APP, GATEWAY] {
        let wanted = format!("{label}.{base}");
        let name = ServerName::try_from(wanted.as_str());
        let fits = name.is_ok_and(|name| verify_server_name(&parsed, &name).is_ok());
        if !fits {
            return Err(CertificateError::Name(wanted));
        }
    }
    Ok(())
}

fn check_time(leaf: &CertificateDer<'_>, now: Duration) -> Result<(), CertificateError> {
    let certificate = Certificate::from_der(leaf)?;
    let validity = certificate.tbs_certificate().validity();
    let from = validity.not_before.to_unix_duration();
    let until = validity.not_after.to_unix_duration();
    if (from..=until).contains(&now) {
        return Ok(());
    }
    let (from, until, now) = (from.as_secs(), until.as_secs(), now.as_secs());
    Err(CertificateError::Time { from, until, now })
}

/// TLS settings of a terminated connection that agrees to one protocol inside.
///
/// # Errors
/// If the library refuses them.
pub fn config(
    certificates: Arc<Certificates>,
    alpn: &[u8],
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let kx_groups = vec![
        aws_lc_rs::kx_group::X25519MLKEM768,
        aws_lc_rs::kx_group::X25519,
        aws_lc_rs::kx_group::SECP256R1,
        aws_lc_rs::kx_group::SECP384R1,
    ];
    let provider = Arc::new(CryptoProvider { kx_groups, ..aws_lc_rs::default_provider() });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![alpn.to_vec()];
    // No state is kept for clients; tickets are under keys of this process that last twelve hours.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::PrivatePkcs8KeyDer;

    use super::*;

    fn base() -> DomainName {
        DomainName::parse("apps.example").unwrap()
    }

    fn key_of(pair: &KeyPair) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(pair.serialize_der()).into()
    }

    fn made(names: &[&str], years: std::ops::Range<i32>) -> (CertificateDer<'static>, KeyPair) {
        let pair = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
        (params.self_signed(&pair).unwrap().der().clone(), pair)
    }

    /// The first of January 2026.
    fn now() -> Duration {
        Duration::from_secs(1_767_225_600)
    }

    #[test]
    fn a_certificate_that_is_expired_foreign_or_of_another_key_leaves_what_was_served() {
        let certificates = Certificates::default();
        let install = |(leaf, pair): (CertificateDer<'static>, KeyPair)| {
            certificates.install(&base(), vec![leaf], key_of(&pair), now())
        };
        install(made(&["*.apps.example"], 2025..2027)).unwrap();
        let served = certificates.of("x.apps.example").unwrap();
        let expired = install(made(&["*.apps.example"], 2024..2025));
        assert!(matches!(expired, Err(CertificateError::Time { .. })));
        let early = install(made(&["*.apps.example"], 2027..2028));
        assert!(matches!(early, Err(CertificateError::Time { .. })));
        for names in [&["*.other.example"][..], &["apps.example"], &["gateway.apps.example"], &[]] {
            let foreign = install(made(names, 2025..2027));
            assert!(matches!(foreign, Err(CertificateError::Name(_))), "{names:?}");
        }
        let (leaf, _) = made(&["*.apps.example"], 2025..2027);
        let mixed = install((leaf, KeyPair::generate().unwrap()));
        assert!(matches!(mixed, Err(CertificateError::Key(_))));
        let empty =
            certificates.install(&base(), vec![], key_of(&KeyPair::generate().unwrap()), now());
        assert!(empty.is_err());
        assert!(Arc::ptr_eq(&served, &certificates.of("x.apps.example").unwrap()));
    }

    #[test]
    fn a_name_has_the_certificate_of_its_own_base_domain() {
        let certificates = Certificates::default();
        let (leaf, pair) = made(&["*.apps.example"], 2025..2027);
        certificates.install(&base(), vec![leaf], key_of(&pair), now()).unwrap();
        assert!(certificates.of("gateway.apps.example").is_some());
        for name in ["apps.example", "x.y.apps.example", "x.other.example", "example", ""] {
            assert!(certificates.of(name).is_none(), "{name}");
        }
    }
}
