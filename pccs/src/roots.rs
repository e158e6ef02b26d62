//! Whose certificates a service over HTTPS may have.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Roots by which a service's certificate is judged. Collateral does not depend on them: they keep
/// others from learning which platform is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roots {
    /// Those that this machine trusts.
    Machine,
    /// Mozilla's list as it was when this program was built, for containers, which have no store.
    CompiledIn,
    /// These and no others; one that cannot be read counts as absent.
    Only(Vec<CertificateDer<'static>>),
}

impl Roots {
    /// TLS by the one cryptographic library.
    pub fn tls_config(&self) -> TlsConfig {
        let roots = match self {
            Self::Machine => RootCerts::PlatformVerifier,
            Self::CompiledIn => RootCerts::WebPki,
            Self::Only(roots) => roots
                .iter()
                .map(|root| Certificate::from_der(root).to_owned())
                .collect::<Vec<_>>()
                .into(),
        };
        TlsConfig::builder()
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(Arc::new(
                rustls::crypto::aws_lc_rs::default_provider(),
            ))
            .build()
    }
}
