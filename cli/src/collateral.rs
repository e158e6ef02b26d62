//! Collateral for a quote: out of the cache while it lasts, from a service where a person names
//! one.
//!
//! A service and the cache's files are other people's bytes. What they say is judged by
//! `attestation` before it is kept, and again with the evidence; a service that is down or lies can
//! make a verdict incomplete, never better.

use attestation::policy::{ExpectedReportData, Policy};
use attestation::{CheckName, CheckVerdict, Collateral, PlatformKey, TrustAnchor};
use protocol::evidence::Evidence;

use crate::failure::{Failure, Outcome};
use crate::output;

mod cache;
mod service;

pub use cache::{Cache, read_file};
pub use service::INTEL_PCS;

use service::Service;

/// Environment variable that names a service, for those who always use the same.
const SERVICE: &str = "DSTYX_PCCS";

/// Checks that collateral must pass to be kept. The first three are the platform's: whoever makes
/// up its certificates also signs revocation lists for them, and such a list would lie where the
/// true one belongs.
const OF_COLLATERAL: [CheckName; 13] = [
    CheckName::TrustAnchor,
    CheckName::PckCertificates,
    CheckName::CertificateValidity,
    CheckName::CollateralFormat,
    CheckName::CollateralSigners,
    CheckName::CrlIssuer,
    CheckName::CrlComplete,
    CheckName::CrlCurrent,
    CheckName::TcbInfoSignature,
    CheckName::TcbInfoCurrent,
    CheckName::TcbInfoPlatform,
    CheckName::QeIdentitySignature,
    CheckName::QeIdentityCurrent,
];

/// Whose quote needs collateral, and when.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// With the quote.
    pub evidence: &'a Evidence,
    /// Whose signatures count.
    pub anchor: &'a TrustAnchor,
    /// Seconds since 1970.
    pub now_secs: u64,
}

/// The service that a person named by option or environment.
pub fn named_service(option: Option<&str>) -> Option<String> {
    option.map(str::to_owned).or_else(|| std::env::var(SERVICE).ok().filter(|url| !url.is_empty()))
}

/// The best collateral at hand. A service is asked only where the cache has none that is sound.
///
/// What cannot be had is said on standard error and is no failure: the judgement says what it
/// means.
pub fn find(wanted: Wanted<'_>, service: Option<&str>) -> Outcome<Option<Collateral>> {
    let Ok(key) = attestation::platform_key(&wanted.evidence.quote) else {
        return Ok(None); // the verdict says what is wrong with the quote
    };
    let cache = Cache::of_user()?;
    let cached = cache.read(wanted.anchor.name(), &key).unwrap_or_else(|failure| {
        output::note(&failure.to_string());
        None
    });
    if cached.as_ref().is_some_and(|cached| wanted.refusal(cached).is_none()) {
        return Ok(cached);
    }
    let Some(service) = service else { return Ok(cached) };
    match fetch(wanted, &cache, &key, service) {
        Ok(fetched) => Ok(Some(fetched)),
        Err(failure) => {
            output::note(&failure.to_string());
            Ok(cached)
        }
    }
}

/// Asks a service and keeps what it says, if it is sound and not older than what is kept already.
pub fn fetch(
    wanted: Wanted<'_>,
    cache: &Cache,
    key: &PlatformKey,
    service: &str,
) -> Outcome<Collateral> {
    let fetched = Service::new(service)
        .and_then(|service| service.fetch(key))
        .map_err(|error| Failure::new(protocol::error::chain(&error), error.hint()))?;
    if let Some(refusal) = wanted.refusal(&fetched) {
        let what = format!("what {service} says for this quote is not believed: {refusal}");
        return Err(Failure::new(what, "ask another service with --pccs; nothing was kept"));
    }
    let anchor = wanted.anchor.name();
    // Whatever the clock says: a stated time must not bring back what was replaced.
    let kept = cache.read(anchor, key).ok().flatten();
    if let Some(part) = kept.and_then(|kept| goes_back(&kept, &fetched)) {
        let what = format!("what {service} says is older than what is kept already: its {part}");
        return Err(Failure::new(
            what,
            "ask another service with --pccs; the newer collateral was kept",
        ));
    }
    cache.write(anchor, key, &fetched)?;
    Ok(fetched)
}

impl Wanted<'_> {
    /// Why this collateral is of no use for the quote, or not to be kept because of it.
    pub fn refusal(&self, collateral: &Collateral) -> Option<String> {
        let policy = Policy::strict(self.anchor.clone(), ExpectedReportData::NonceOfEvidence);
        let appraisal = attestation::judge(self.evidence, &policy, Some(collateral), self.now_secs);
        let rows = appraisal.checks.iter().filter(|row| OF_COLLATERAL.contains(&row.name));
        let bad = rows.into_iter().find(|row| row.verdict != CheckVerdict::Pass)?;
        let (expected, found) = (&bad.finding.expected, &bad.finding.found);
        Some(format!("{}: expected {expected}, found {found}", bad.name.refusal()))
    }
}

/// A part that is older than the one kept, if any is: each is signed by itself, so a service can
/// mix old and new. What is kept and cannot be read is as good as nothing.
fn goes_back(kept: &Collateral, fetched: &Collateral) -> Option<&'static str> {
    let (kept, fetched) = (kept.summary().ok()?.ages(), fetched.summary().ok()?.ages());
    let older = kept.into_iter().zip(fetched).find(|((_, kept), (_, fetched))| fetched < kept);
    older.map(|((part, _), _)| part)
}
