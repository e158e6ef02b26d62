//! A certification authority of this process alone, for trials on one machine.
//!
//! What it certifies proves nothing about a name: its certificates say so in their subjects, and
//! its own may certify names under one base domain only, so that a person who lets a browser trust
//! it trusts it for that domain and no other.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gateway_acme::{KeyError, LeafKey};
use gateway_domain::issuance::BaseDomain;
use gateway_domain::name::DomainName;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::pkcs8::DecodePrivateKey as _;
use protocol::strict_json;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder as _, CertificateBuilder};
use x509_cert::certificate::TbsCertificate;
use x509_cert::der::asn1::{Ia5String, OctetString};
use x509_cert::der::oid::db::rfc5280::ID_KP_SERVER_AUTH;
use x509_cert::der::{DateTime, Decode as _, Encode as _};
use x509_cert::ext::pkix::constraints::name::{GeneralSubtree, NameConstraints};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages,
    SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, ToExtension as _};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{SubjectPublicKeyInfo, SubjectPublicKeyInfoRef};
use x509_cert::time::{Time, Validity};
use zeroize::Zeroizing;

/// What stands in place of an account's address in the evidence about its certificates' keys.
pub const ACCOUNT: &str = "danger-local-ca";
/// Subject of the authority.
const AUTHORITY_NAME: &str = "CN=DANGER dstyx local CA for trials";
/// Subject of what it certifies.
const LEAF_NAME: &str = "CN=DANGER certified by a local CA for trials";
/// How long the authority's certificate is valid: trials are short, and browsers remember.
const AUTHORITY_DAYS: u64 = 365;
/// How long a leaf is valid, as public authorities have it.
const LEAF_DAYS: u64 = 90;
const DAY_SECS: u64 = 86_400;
/// Largest stored authority.
const MAX_STORED_BYTES: usize = 8 << 10;

/// Why nothing was certified.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// a key
    #[error("the local authority's key: {0}")]
    Key(#[from] KeyError),
    /// a stored authority that is none
    #[error("the stored local authority: {0}")]
    Stored(String),
    /// no random numbers
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// a certificate that cannot be written
    #[error("the certificate: {0}")]
    Der(#[from] x509_cert::der::Error),
    /// a certificate that cannot be built
    #[error("the certificate: {0}")]
    Build(#[from] x509_cert::builder::Error),
    /// a key that cannot be encoded
    #[error("the certificate's key: {0}")]
    Spki(#[from] x509_cert::spki::Error),
}

/// The authority of one base domain.
pub struct LocalAuthority {
    key: SigningKey,
    pkcs8: Zeroizing<Vec<u8>>,
    certificate: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredAuthority {
    pkcs8: Zeroizing<String>,
    certificate: String,
}

impl LocalAuthority {
    /// A new one for a base domain.
    ///
    /// # Errors
    /// If its certificate cannot be made.
    pub fn generate(base: &DomainName, now_secs: u64) -> Result<Self, LocalError> {
        let pkcs8 = LeafKey::generate()?.to_pkcs8()?;
        let key = SigningKey::from_pkcs8_der(&pkcs8).map_err(|_| KeyError::Stored)?;
        let permitted = GeneralSubtree {
            base: GeneralName::DnsName(Ia5String::new(base.as_str())?),
            minimum: 0,
            maximum: None,
        };
        let only =
            NameConstraints { permitted_subtrees: Some(vec![permitted]), excluded_subtrees: None };
        let name = name(AUTHORITY_NAME)?;
        let extensions = vec![only.to_extension(&name, &[])?];
        let profile = Profile { issuer: name.clone(), subject: name, ca: true, extensions };
        let public = SubjectPublicKeyInfo::from_key(key.verifying_key())?;
        let certificate = certify(&key, profile, public, (now_secs, AUTHORITY_DAYS))?;
        Ok(Self { key, pkcs8, certificate })
    }

    /// One out of the sealed store.
    ///
    /// # Errors
    /// If it is none.
    pub fn from_stored(bytes: &[u8]) -> Result<Self, LocalError> {
        let stored = |what: &str| LocalError::Stored(what.to_owned());
        let read: StoredAuthority = strict_json::parse(bytes, MAX_STORED_BYTES)
            .map_err(|error| LocalError::Stored(error.to_string()))?;
        let decoded = |text: &str| STANDARD.decode(text).map_err(|_| stored("no base64"));
        let pkcs8 = Zeroizing::new(decoded(&read.pkcs8)?);
        let key = SigningKey::from_pkcs8_der(&pkcs8).map_err(|_| stored("no key"))?;
        Ok(Self { key, pkcs8, certificate: decoded(&read.certificate)? })
    }

    /// For the sealed store.
    pub fn to_stored(&self) -> Zeroizing<Vec<u8>> {
        let stored = StoredAuthority {
            pkcs8: Zeroizing::new(STANDARD.encode(self.pkcs8.as_slice())),
            certificate: STANDARD.encode(&self.certificate),
        };
        Zeroizing::new(serde_json::to_vec(&stored).expect("strings serialise"))
    }

    /// Its certificate in PEM.
    pub fn pem(&self) -> String {
        let body = STANDARD.encode(&self.certificate);
        let lines: Vec<&str> = body
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"))
            .collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    }

    /// Whether it can still certify for as long as a leaf holds.
    pub fn holds(&self, now_secs: u64) -> bool {
        let certificate = x509_cert::Certificate::from_der(&self.certificate);
        certificate.is_ok_and(|certificate| {
            let until = certificate.tbs_certificate().validity().not_after.to_unix_duration();
            until.as_secs() > now_secs + LEAF_DAYS * DAY_SECS
        })
    }

    /// A certificate for a key (DER of the SubjectPublicKeyInfo) and the names of a base domain,
    /// and the authority's own behind it.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn certify(
        &self,
        base: &BaseDomain,
        spki: &[u8],
        now_secs: u64,
    ) -> Result<Vec<Vec<u8>>, LocalError> {
        let subject = name(LEAF_NAME)?;
        let certified = base.certified();
        let names = certified
            .iter()
            .map(|name| Ok(GeneralName::DnsName(Ia5String::new(&name.to_string())?)))
            .collect::<Result<Vec<_>, x509_cert::der::Error>>()?;
        let extensions = vec![
            SubjectAltName(names).to_extension(&subject, &[])?,
            ExtendedKeyUsage(vec![ID_KP_SERVER_AUTH]).to_extension(&subject, &[])?,
        ];
        let issuer = name(AUTHORITY_NAME)?;
        let profile = Profile { issuer, subject, ca: false, extensions };
        let public = SubjectPublicKeyInfo::from_der(spki)?;
        let leaf = certify(&self.key, profile, public, (now_secs, LEAF_DAYS))?;
        Ok(vec![leaf, self.certificate.clone()])
    }
}

/// A certificate that begins now.
fn certify(
    signer: &SigningKey,
    profile: Profile,
    key: SubjectPublicKeyInfo<x509_cert::der::asn1::Any, x509_cert::der::asn1::BitString>,
    (now_secs, days): (u64, u64),
) -> Result<Vec<u8>, LocalError> {
    let mut serial = [0; 16];
    getrandom::fill(&mut serial)?;
    // Positive, and not shortened in DER.
    serial[0] = serial[0] & 0x7f | 0x40;
    let [from, until] = [now_secs, now_secs + days * DAY_SECS]
        .map(|secs| DateTime::from_unix_duration(Duration::from_secs(secs)).map(Time::from));
    let validity = Validity::new(from?, until?);
    let builder = CertificateBuilder::new(profile, SerialNumber::new(&serial)?, validity, key)?;
    Ok(builder.build::<_, DerSignature>(signer)?.to_der()?)
}

fn name(text: &str) -> Result<Name, x509_cert::der::Error> {
    text.parse()
}

struct Profile {
    issuer: Name,
    subject: Name,
    ca: bool,
    extensions: Vec<Extension>,
}

impl BuilderProfile for Profile {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        key: SubjectPublicKeyInfoRef<'_>,
        issuer_key: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        let name = tbs.subject();
        let (usages, path_len_constraint) = match self.ca {
            true => (KeyUsages::KeyCertSign.into(), Some(0)),
            false => (KeyUsages::DigitalSignature.into(), None),
        };
        let authority = AuthorityKeyIdentifier {
            key_identifier: Some(key_identifier(issuer_key)?),
            ..AuthorityKeyIdentifier::default()
        };
        let mut extensions = self.extensions.clone();
        extensions.extend([
            authority.to_extension(name, &[])?,
            SubjectKeyIdentifier(key_identifier(key)?).to_extension(name, &[])?,
            KeyUsage(usages).to_extension(name, &[])?,
            BasicConstraints { ca: self.ca, path_len_constraint }.to_extension(name, &[])?,
        ]);
        Ok(extensions)
    }
}

/// RFC 7093's first: of SHA-256 of the point, the first twenty bytes.
fn key_identifier(key: SubjectPublicKeyInfoRef<'_>) -> x509_cert::der::Result<OctetString> {
    OctetString::new(&Sha256::digest(key.subject_public_key.raw_bytes())[..20])
}

#[cfg(test)]
mod tests {
    use gateway_domain::certificate::Certificate;
    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use std::sync::Arc;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn base(text: &str) -> BaseDomain {
        BaseDomain::new(text.parse().unwrap(), ACCOUNT_ISSUER.parse().unwrap())
    }

    const ACCOUNT_ISSUER: &str = "local.invalid";

    fn verified(authority: &LocalAuthority, chain: &[Vec<u8>], host: &str) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(authority.certificate.clone())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let host = ServerName::try_from(host.to_owned()).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW + 1));
        let leaf = CertificateDer::from(chain[0].clone());
        verifier.verify_server_cert(&leaf, &[], &host, &[], now).is_ok()
    }

    #[test]
    fn its_certificates_say_what_they_are_and_are_for_one_base_domain_only() {
        let authority = LocalAuthority::generate(base("apps.example").name(), NOW).unwrap();
        let authority = LocalAuthority::from_stored(&authority.to_stored()).unwrap();
        let key = LeafKey::generate().unwrap();
        let chain = authority.certify(&base("apps.example"), &key.spki().unwrap(), NOW).unwrap();
        assert!(verified(&authority, &chain, "a.apps.example"));
        let read = Certificate::parse(&chain[0]).unwrap();
        assert!(read.issuer().contains("DANGER"), "{}", read.issuer());
        assert_eq!(read.spki(), key.spki().unwrap());
        // What another base domain's name would get from the same authority is not believed.
        let other = authority.certify(&base("bank.example"), &key.spki().unwrap(), NOW).unwrap();
        assert!(!verified(&authority, &other, "a.bank.example"));
        assert!(authority.holds(NOW) && !authority.holds(NOW + 300 * DAY_SECS));
        assert!(authority.pem().starts_with("-----BEGIN CERTIFICATE-----\n"));
    }
}
