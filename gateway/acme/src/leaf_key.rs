//! The key of a certificate: born here, and asked to be certified.

use gateway_domain::name::CertifiedName;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _};
use x509_cert::builder::{self, Builder as _};
use x509_cert::der::Encode as _;
use x509_cert::der::asn1::Ia5String;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;
use x509_cert::request::RequestBuilder;
use zeroize::Zeroizing;

/// A key on P-256. It is never shared between gateways, so that a captured one is revoked alone.
pub struct LeafKey(SigningKey);

/// Why there is no key, or no request for it.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// no random numbers
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// bytes that are no key
    #[error("the stored key is no PKCS#8 of P-256")]
    Stored,
    /// a request that cannot be made
    #[error("no request for a certificate: {0}")]
    Request(#[from] builder::Error),
    /// a request or a key that cannot be encoded
    #[error("no request for a certificate: {0}")]
    Der(#[from] x509_cert::der::Error),
    /// a key that cannot be encoded
    #[error("the key cannot be encoded")]
    Encode,
}

impl LeafKey {
    /// A new one.
    ///
    /// # Errors
    /// If there are no random numbers.
    pub fn generate() -> Result<Self, KeyError> {
        let mut scalar = Zeroizing::new([0; 32]);
        loop {
            getrandom::fill(scalar.as_mut_slice())?;
            // One in 2^32 is no scalar of the curve.
            if let Ok(key) = SigningKey::from_slice(scalar.as_slice()) {
                return Ok(Self(key));
            }
        }
    }

    /// One out of the sealed store.
    ///
    /// # Errors
    /// If it is none.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        SigningKey::from_pkcs8_der(der).map(Self).map_err(|_| KeyError::Stored)
    }

    /// For the sealed store, and for the program's own TLS.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let document = self.0.to_pkcs8_der().map_err(|_| KeyError::Encode)?;
        Ok(document.to_bytes())
    }

    /// DER of its SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn spki(&self) -> Result<Vec<u8>, KeyError> {
        let document = self.0.verifying_key().to_public_key_der();
        document.map(|document| document.into_vec()).map_err(|_| KeyError::Encode)
    }

    /// A request for a certificate for these names (DER of PKCS#10).
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn request(&self, names: &[CertifiedName]) -> Result<Vec<u8>, KeyError> {
        let name =
            |name: &CertifiedName| Ok(GeneralName::DnsName(Ia5String::new(&name.to_string())?));
        let names = names.iter().map(name).collect::<Result<Vec<_>, x509_cert::der::Error>>()?;
        let mut request = RequestBuilder::new(Name::default())?;
        request.add_extension(&SubjectAltName(names))?;
        Ok(request.build::<_, DerSignature>(&self.0)?.to_der()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_itself_out_of_the_store_and_its_request_names_all_hosts() {
        let key = LeafKey::generate().unwrap();
        let again = LeafKey::from_pkcs8(&key.to_pkcs8().unwrap()).unwrap();
        assert_eq!(again.spki().unwrap(), key.spki().unwrap());
        assert!(matches!(LeafKey::from_pkcs8(b"no key"), Err(KeyError::Stored)));
        let names: Vec<CertifiedName> =
            ["example.org", "*.example.org"].map(|name| name.parse().unwrap()).to_vec();
        let request = key.request(&names).unwrap();
        let holds = |bytes: &[u8]| request.windows(bytes.len()).any(|window| window == bytes);
        assert!(holds(b"*.example.org") && holds(&key.spki().unwrap()));
    }
}
