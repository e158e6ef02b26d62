//! TLS of the builder and of the command: the certificates that this machine trusts, and the one
//! cryptographic library.

use std::sync::Arc;

use ureq::tls::{RootCerts, TlsConfig};

/// For every client of HTTPS that runs on the builder.
pub fn config() -> TlsConfig {
    TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .build()
}
