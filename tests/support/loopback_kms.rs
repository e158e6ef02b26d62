//! A KMS on loopback, whose own guest never ran: for tests and benches whose guests ask it for
//! keys.

use std::path::Path;

use attestation::TrustAnchor;
use kms::fixtures::{Running, Setup};
use tests::emulated::{self, Emulated};

/// A KMS without a root in this empty directory.
pub async fn start(directory: &Path) -> Running {
    let guest = Emulated::new("kms", true);
    let anchor = TrustAnchor::DangerEmulated(emulated::root());
    let setup = Setup {
        image: emulated::image().clone(),
        file: guest.file.clone(),
        quotes: Box::new(move |report_data| guest.evidence(report_data)),
        anchor: anchor.clone(),
        trusted: anchor,
        pccs: emulated::pccs(None),
        directory: directory.to_owned(),
    };
    Running::start(setup).await
}
