//! The HTTP clients: certificates judged by given roots, no redirect followed unseen, no proxy.

use std::path::Path;
use std::sync::Arc;

use reqwest::Client;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::{RegistryError, Timeouts};

/// A client; with `https_only` it speaks nothing else.
pub(super) fn client(
    roots: RootCertStore,
    https_only: bool,
    timeout: &Timeouts,
) -> Result<Client, RegistryError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(RegistryError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(https_only)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(timeout.connect)
        .read_timeout(timeout.silence)
        .user_agent(concat!("dstyx/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(RegistryError::Client)
}

/// The roots in a file of certificates.
pub(super) fn load_roots(path: &Path) -> Result<RootCertStore, RegistryError> {
    let bad = |message: String| RegistryError::Roots { path: path.display().to_string(), message };
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(bad("no certificate in it".to_owned()));
    }
    Ok(roots)
}
