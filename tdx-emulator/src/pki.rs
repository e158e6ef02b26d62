//! The certificate authority of the emulated hardware, in the shape of Intel's.
//!
//! Root → platform CA → PCK certificate, and root → TCB signing certificate, with the two
//! revocation lists. All keys follow from the published root key, so nothing here is a secret, and
//! every name says so.

pub mod holder;
pub mod machine;
pub mod pck_extension;

use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{DerSignature, Signature, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use std::str::FromStr as _;
use std::time::Duration;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder as _, CertificateBuilder};
use x509_cert::certificate::TbsCertificate;
use x509_cert::crl::{CertificateList, RevokedCert, TbsCertList};
use x509_cert::der::asn1::{BitString, ObjectIdentifier, OctetString};
use x509_cert::der::flagset::FlagSet;
use x509_cert::der::pem::LineEnding;
use x509_cert::der::{DateTime, Encode as _, EncodePem as _};
use x509_cert::ext::pkix::SubjectKeyIdentifier;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, CrlNumber, KeyUsage, KeyUsages,
};
use x509_cert::ext::{Extension, ToExtension as _};
use x509_cert::name::Name;
use x509_cert::spki::{
    DynSignatureAlgorithmIdentifier as _, SubjectPublicKeyInfo, SubjectPublicKeyInfoRef,
};
use x509_cert::time::{Time, Validity};
use x509_cert::{Certificate, Version};

use self::holder::{Holder, public_point};
use self::machine::Machine;
use self::pck_extension::PckFacts;
use crate::lie::Lie;

/// Validity of the root: fixed, so that the certificate follows from the key.
const ROOT_VALIDITY: [&str; 2] = ["2026-01-01T00:00:00Z", "2049-12-31T23:59:59Z"];
/// How long an expired certificate, list or document has been so.
pub const EXPIRED_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// Certificates are older than the collateral, and outlive it, by as much.
const CERTIFICATE_SLACK: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why no certificate could be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// a structure could not be encoded
    #[error("certificate: {0}")]
    Der(#[from] x509_cert::der::Error),
    /// the builder refused
    #[error("certificate: {0}")]
    Builder(#[from] x509_cert::builder::Error),
    /// an algorithm could not be named
    #[error("certificate: {0}")]
    Spki(#[from] x509_cert::spki::Error),
    /// a time that certificates cannot express
    #[error("certificate: {0} is too early or too late; legal are 1971 to 2049")]
    Time(DateTime),
}

/// The root certificate; the same bytes on every machine.
pub fn root_certificate() -> Result<Certificate, PkiError> {
    let [not_before, not_after] = ROOT_VALIDITY.map(Time::from_str);
    certificate(
        Holder::Root,
        Issuer::of(Holder::Root),
        Validity::new(not_before?, not_after?),
        Vec::new(),
    )
}

/// The certificates of one start of the service.
#[derive(Debug, Clone)]
pub struct Chain {
    /// Trust anchor.
    pub root: Certificate,
    /// Where the PCK's chain ends: the trust anchor, unless that is the lie.
    pub pck_root: Certificate,
    /// Issuer of the PCK certificate.
    pub platform_ca: Certificate,
    /// The machine's certificate, with the SGX extensions.
    pub pck: Certificate,
    /// Signer of TCB info and QE identity.
    pub tcb_signer: Certificate,
    /// Whose PCK it is.
    pub machine: Machine,
}

impl Chain {
    /// Issues everything below the root, valid around `now`; the PCK certificate states `facts`.
    pub fn issue(now: DateTime, facts: &PckFacts, lie: Option<Lie>) -> Result<Self, PkiError> {
        let validity =
            Validity::new(before(now, CERTIFICATE_SLACK)?, after(now, CERTIFICATE_SLACK)?);
        let pck_validity = match lie {
            Some(Lie::ExpiredPck) => {
                Validity::new(before(now, CERTIFICATE_SLACK)?, before(now, EXPIRED_FOR)?)
            }
            _ => validity,
        };
        let platform_ca_issuer = match lie {
            Some(Lie::ForeignCa) => Issuer::of(Holder::ForeignRoot),
            Some(Lie::ForgedCa) => Issuer { name: Holder::Root, key: Holder::ForeignRoot },
            _ => Issuer::of(Holder::Root),
        };
        let tcb_signer_issuer = match lie {
            Some(Lie::ForeignTcbSigner) => Issuer { name: Holder::Root, key: Holder::ForeignRoot },
            _ => Issuer::of(Holder::Root),
        };
        let pck_extension = vec![facts.extension()?];
        let root = root_certificate()?;
        Ok(Self {
            pck_root: match lie {
                Some(Lie::ForeignCa) => certificate(
                    Holder::ForeignRoot,
                    Issuer::of(Holder::ForeignRoot),
                    validity,
                    Vec::new(),
                )?,
                _ => root.clone(),
            },
            root,
            platform_ca: certificate(Holder::PlatformCa, platform_ca_issuer, validity, Vec::new())?,
            pck: certificate(
                Holder::Pck(facts.machine),
                Issuer::of(Holder::PlatformCa),
                pck_validity,
                pck_extension,
            )?,
            tcb_signer: certificate(Holder::TcbSigner, tcb_signer_issuer, validity, Vec::new())?,
            machine: facts.machine,
        })
    }

    /// PEM of the PCK's chain, leaf first, as a quote carries it.
    pub fn pck_pem(&self) -> Result<String, PkiError> {
        pem(&[&self.pck, &self.platform_ca, &self.pck_root])
    }

    /// PEM of the platform CA's chain, which signs the PCK revocation list.
    pub fn platform_ca_pem(&self) -> Result<String, PkiError> {
        pem(&[&self.platform_ca, &self.pck_root])
    }

    /// PEM of the collateral signer's chain.
    pub fn tcb_signer_pem(&self) -> Result<String, PkiError> {
        pem(&[&self.tcb_signer, &self.root])
    }
}

/// Whose name stands under a certificate or list, and whose key signed it: the same one's, but for
/// lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Issuer {
    /// Named as the issuer.
    pub name: Holder,
    /// Signed.
    pub key: Holder,
}

impl Issuer {
    /// Who signs what bears their name.
    pub fn of(holder: Holder) -> Self {
        Self { name: holder, key: holder }
    }
}

/// What a revocation list says.
#[derive(Debug, Clone, Copy)]
pub struct Revocations {
    /// Since when.
    pub this_update: DateTime,
    /// Until when.
    pub next_update: DateTime,
    /// Whose certificate is revoked, if anybody's.
    pub revoked: Option<Holder>,
    /// Whether the list is complete; if not, it says that it has certificates of users only.
    pub complete: bool,
}

/// A revocation list, DER.
pub fn revocation_list(issuer: Issuer, content: &Revocations) -> Result<Vec<u8>, PkiError> {
    let key = issuer.key.key();
    let algorithm = key.signature_algorithm_identifier()?;
    let number = CrlNumber::try_from(1_u128)?;
    let name = issuer.name.name();
    let mut extensions = vec![
        number.to_extension(&name, &[])?,
        authority_key(&issuer.name.key())?.to_extension(&name, &[])?,
    ];
    if !content.complete {
        extensions.push(users_only()?);
    }
    let entry = |revoked: Holder| RevokedCert {
        serial_number: revoked.serial_number(),
        revocation_date: content.this_update.into(),
        crl_entry_extensions: None,
    };
    let tbs_cert_list: TbsCertList = TbsCertList {
        version: Version::V2,
        signature: algorithm.clone(),
        issuer: name,
        this_update: content.this_update.into(),
        next_update: Some(content.next_update.into()),
        revoked_certificates: content.revoked.map(|revoked| vec![entry(revoked)]),
        crl_extensions: Some(extensions),
    };
    let signature: DerSignature = key.sign(&tbs_cert_list.to_der()?);
    let signature = BitString::from_bytes(signature.as_bytes())?;
    Ok(CertificateList { tbs_cert_list, signature_algorithm: algorithm, signature }.to_der()?)
}

/// An issuing distribution point with `onlyContainsUserCerts` (RFC 5280, section 5.2.5).
fn users_only() -> x509_cert::der::Result<Extension> {
    const ISSUING_DISTRIBUTION_POINT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");
    let contents = OctetString::new([0x30, 3, 0x81, 1, 0xff])?;
    Ok(Extension { extn_id: ISSUING_DISTRIBUTION_POINT, critical: true, extn_value: contents })
}

/// r ‖ s over SHA-256 of `message`: how Intel's structures carry ECDSA P-256 signatures.
pub fn sign_raw(key: &SigningKey, message: &[u8]) -> [u8; 64] {
    let signature: Signature = key.sign(message);
    signature.to_bytes().into()
}

fn certificate(
    holder: Holder,
    issuer: Issuer,
    validity: Validity,
    extensions: Vec<Extension>,
) -> Result<Certificate, PkiError> {
    let public_key = SubjectPublicKeyInfo::from_key(&VerifyingKey::from(&holder.key()))?;
    let profile = Profile { holder, issuer: issuer.name };
    let mut builder =
        CertificateBuilder::new(profile, holder.serial_number(), validity, public_key)?;
    for extension in extensions {
        builder.add_extension(extension)?;
    }
    Ok(builder.build::<_, DerSignature>(&issuer.key.key())?)
}

fn pem(certificates: &[&Certificate]) -> Result<String, PkiError> {
    let encoded: Result<Vec<String>, _> =
        certificates.iter().map(|certificate| certificate.to_pem(LineEnding::LF)).collect();
    Ok(encoded?.concat())
}

fn after(now: DateTime, time: Duration) -> Result<Time, PkiError> {
    certificate_time(now, now.unix_duration().checked_add(time))
}

fn before(now: DateTime, time: Duration) -> Result<Time, PkiError> {
    certificate_time(now, now.unix_duration().checked_sub(time))
}

/// From 2050 on, certificates write times in another form.
fn certificate_time(now: DateTime, moved: Option<Duration>) -> Result<Time, PkiError> {
    let moved = moved
        .and_then(|time| DateTime::from_unix_duration(time).ok())
        .filter(|time| time.year() < 2050);
    moved.map(Time::from).ok_or(PkiError::Time(now))
}

fn authority_key(issuer: &SigningKey) -> x509_cert::der::Result<AuthorityKeyIdentifier> {
    let key_identifier = Some(OctetString::new(key_identifier(&public_point(issuer)))?);
    Ok(AuthorityKeyIdentifier { key_identifier, ..Default::default() })
}

/// Any function of the key will do (RFC 5280, section 4.2.1.2); this is RFC 7093's first.
fn key_identifier(point: &[u8; 64]) -> Vec<u8> {
    Sha256::new().chain_update([4]).chain_update(point).finalize()[..20].to_vec()
}

/// Intel's set of extensions, without URLs: there is nobody to fetch from.
struct Profile {
    holder: Holder,
    issuer: Holder,
}

impl BuilderProfile for Profile {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.issuer.name()
    }

    fn get_subject(&self) -> Name {
        self.holder.name()
    }

    fn build_extensions(
        &self,
        _key: SubjectPublicKeyInfoRef<'_>,
        _issuer_key: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        let Self { holder, issuer } = *self;
        let ca = holder.is_authority();
        let path_len_constraint = match holder {
            Holder::Root | Holder::ForeignRoot => Some(1),
            Holder::PlatformCa => Some(0),
            _ => None,
        };
        let usages: FlagSet<KeyUsages> = match ca {
            true => KeyUsages::KeyCertSign | KeyUsages::CRLSign,
            false => KeyUsages::DigitalSignature | KeyUsages::NonRepudiation,
        };
        let subject_key =
            SubjectKeyIdentifier(OctetString::new(key_identifier(&public_point(&holder.key())))?);
        let name = tbs.subject();
        Ok(vec![
            authority_key(&issuer.key())?.to_extension(name, &[])?,
            subject_key.to_extension(name, &[])?,
            KeyUsage(usages).to_extension(name, &[])?,
            BasicConstraints { ca, path_len_constraint }.to_extension(name, &[])?,
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quote::platform::pck_facts;

    #[test]
    fn the_checked_in_root_follows_from_the_checked_in_key() {
        let checked_in = include_bytes!("../root/danger-emulated-root.der");
        assert_eq!(root_certificate().unwrap().to_der().unwrap(), checked_in);
    }

    #[test]
    fn a_time_beyond_utc_time_is_refused() {
        let late = DateTime::from_str("2049-06-01T00:00:00Z").unwrap();
        assert!(matches!(Chain::issue(late, &pck_facts(None), None), Err(PkiError::Time(_))));
    }
}
