//! The two kinds of authority, and how any certificate here is built and written.

use p256::ecdsa::{DerSignature, SigningKey};
use protocol::digest::AppId;
use protocol::ra_tls;
use sha2::{Digest as _, Sha256};
use x509_cert::SubjectPublicKeyInfo;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder as _, CertificateBuilder};
use x509_cert::certificate::TbsCertificate;
use x509_cert::der::asn1::OctetString;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::pem::LineEnding;
use x509_cert::der::{Encode as _, EncodePem as _};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, ToExtension as _};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::names::common_name;
use super::{CertificateError, Window};
use crate::derivation::Root;

/// Common name of every cluster's authority; clusters and epochs differ by their keys.
const ROOT_NAME: &str = "dstyx KMS root CA";
/// Before what a serial number is the hash of.
const SERIAL_LABEL: &[u8] = b"dstyx certificate serial 1";

/// The certificate authority of a cluster in one epoch.
pub struct RootAuthority(Signer);

/// The certificate authority of one app, below the cluster's.
pub struct AppAuthority {
    pub(super) signer: Signer,
    pub(super) app_id: AppId,
    root_pem: String,
}

impl RootAuthority {
    /// The authority with this key, which [`Root::root_ca`] gives.
    ///
    /// # Errors
    /// If the validity cannot be written.
    pub fn new(key: p256::SecretKey, validity: Window) -> Result<Self, CertificateError> {
        let subject = common_name(ROOT_NAME)?;
        let root = Template { subject, validity, path_length: Some(1), extensions: vec![] };
        Ok(Self(Signer::self_signed(key.into(), &root)?))
    }

    /// The authority of a root, with the validity that all of them have.
    ///
    /// # Errors
    /// If the certificate cannot be written.
    pub fn of(root: &Root) -> Result<Self, CertificateError> {
        Self::new(root.root_ca(), Window::OF_A_ROOT)
    }

    /// PEM of its certificate.
    pub fn pem(&self) -> &str {
        &self.0.pem
    }

    /// The authority of an app, as long valid as this one, with the key that [`Root::app_ca`]
    /// gives.
    ///
    /// # Errors
    /// If the certificate cannot be written.
    pub fn app(
        &self,
        app_id: AppId,
        key: p256::SecretKey,
    ) -> Result<AppAuthority, CertificateError> {
        let app = Template {
            subject: common_name(&format!("dstyx app CA {app_id}"))?,
            validity: self.0.validity,
            path_length: Some(0),
            extensions: vec![octets(ra_tls::APP_ID, &app_id.0)?],
        };
        let key = SigningKey::from(key);
        let pem = self.0.certify(&SubjectPublicKeyInfo::from_key(key.verifying_key())?, &app)?;
        let signer = Signer { key, name: app.subject, validity: app.validity, pem };
        Ok(AppAuthority { signer, app_id, root_pem: self.0.pem.clone() })
    }
}

impl AppAuthority {
    /// The authority of an app under a root.
    ///
    /// # Errors
    /// If the certificate cannot be written.
    pub fn of(root: &Root, app_id: AppId) -> Result<Self, CertificateError> {
        RootAuthority::of(root)?.app(app_id, root.app_ca(&app_id))
    }

    /// PEM of its certificate.
    pub fn pem(&self) -> &str {
        &self.signer.pem
    }

    /// PEM of the certificate above it.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }
}

/// A key with the certificate that it signs under.
pub(super) struct Signer {
    key: SigningKey,
    name: Name,
    pub(super) validity: Window,
    pub(super) pem: String,
}

/// What a certificate says, beside its key and its issuer.
pub(super) struct Template {
    pub(super) subject: Name,
    pub(super) validity: Window,
    /// How many authorities may stand below it; `None` if it is none.
    pub(super) path_length: Option<u8>,
    pub(super) extensions: Vec<Extension>,
}

impl Signer {
    /// An authority that nothing stands above.
    pub(super) fn self_signed(
        key: SigningKey,
        template: &Template,
    ) -> Result<Self, CertificateError> {
        let public_key = SubjectPublicKeyInfo::from_key(key.verifying_key())?;
        let (name, validity) = (template.subject.clone(), template.validity);
        let mut signer = Self { key, name, validity, pem: String::new() };
        signer.pem = signer.certify(&public_key, template)?;
        Ok(signer)
    }

    /// PEM of a certificate of `public_key`.
    pub(super) fn certify(
        &self,
        public_key: &SubjectPublicKeyInfo,
        template: &Template,
    ) -> Result<String, CertificateError> {
        let serial_number = self.serial_number(public_key, template)?;
        let profile = Profile { issuer: &self.name, template };
        let validity = template.validity.validity()?;
        let mut builder =
            CertificateBuilder::new(profile, serial_number, validity, public_key.clone())?;
        for extension in &template.extensions {
            builder.add_extension(extension.clone())?;
        }
        let certificate = builder.build::<_, DerSignature>(&self.key)?;
        Ok(certificate.to_pem(LineEnding::LF)?)
    }

    /// Twenty bytes that follow from issuer, key and everything that is certified: two certificates
    /// of one issuer with the same number are the same certificate.
    fn serial_number(
        &self,
        public_key: &SubjectPublicKeyInfo,
        template: &Template,
    ) -> Result<SerialNumber, CertificateError> {
        let fields = [
            self.key.verifying_key().to_sec1_point(false).as_bytes().to_vec(),
            public_key.to_der()?,
            template.subject.to_der()?,
            template.validity.from_secs.to_le_bytes().to_vec(),
            template.validity.until_secs.to_le_bytes().to_vec(),
            template.extensions.to_der()?,
        ];
        let mut hash = Sha256::new_with_prefix(SERIAL_LABEL);
        hash.update(protocol::derivation::length_prefixed(&fields.each_ref().map(Vec::as_slice)));
        let mut bytes = [0; 20];
        bytes.copy_from_slice(&hash.finalize()[..20]);
        // Positive, and not shortened in DER.
        bytes[0] = bytes[0] & 0x7f | 0x40;
        Ok(SerialNumber::new(&bytes)?)
    }
}

/// An extension as dstack writes its own: an OCTET STRING inside the extension's.
pub(super) fn octets(oid: &str, bytes: &[u8]) -> Result<Extension, CertificateError> {
    let extn_id = ObjectIdentifier::new(oid).map_err(x509_cert::der::Error::from)?;
    let extn_value = OctetString::new(OctetString::new(bytes)?.to_der()?)?;
    Ok(Extension { extn_id, critical: false, extn_value })
}

/// What every certificate here has: key identifiers, key usage, and whether it is an authority.
struct Profile<'a> {
    issuer: &'a Name,
    template: &'a Template,
}

impl BuilderProfile for Profile<'_> {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.template.subject.clone()
    }

    fn build_extensions(
        &self,
        key: SubjectPublicKeyInfoRef<'_>,
        issuer_key: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        let name = tbs.subject();
        let path_len_constraint = self.template.path_length;
        let ca = path_len_constraint.is_some();
        let usages = match ca {
            true => KeyUsages::KeyCertSign | KeyUsages::CRLSign,
            false => KeyUsages::DigitalSignature.into(),
        };
        let authority = AuthorityKeyIdentifier {
            key_identifier: Some(key_identifier(issuer_key)?),
            ..AuthorityKeyIdentifier::default()
        };
        Ok(vec![
            authority.to_extension(name, &[])?,
            SubjectKeyIdentifier(key_identifier(key)?).to_extension(name, &[])?,
            KeyUsage(usages).to_extension(name, &[])?,
            BasicConstraints { ca, path_len_constraint }.to_extension(name, &[])?,
        ])
    }
}

/// RFC 7093's first: of SHA-256 of the point, the first twenty bytes.
fn key_identifier(key: SubjectPublicKeyInfoRef<'_>) -> x509_cert::der::Result<OctetString> {
    OctetString::new(&Sha256::digest(key.subject_public_key.raw_bytes())[..20])
}
