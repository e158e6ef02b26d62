//! Collateral for a quote: out of the cache while it lasts, from a service where a person names
//! one.
//!
//! A service and the cache's files are other people's bytes. What they say is judged by
//! `attestation` before it is kept, and again with the evidence; a service that is down or lies can
//! make a verdict incomplete, never better.

use attestation::{Collateral, NotKept, PlatformKey, Wanted};
use pccs::{Roots, Service, ServiceError};

use crate::failure::{Failure, Outcome};
use crate::output;

mod cache;

pub use cache::{Cache, read_file};

/// Environment variable that names a service, for those who always use the same.
const SERVICE: &str = "DSTYX_PCCS";

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
    let fetched = Service::new(service, &Roots::Machine)
        .and_then(|service| service.fetch(key))
        .map_err(|error| Failure::new(protocol::error::chain(&error), hint(&error)))?;
    let anchor = wanted.anchor.name();
    let kept = cache.read(anchor, key).ok().flatten();
    wanted.may_keep(&fetched, kept.as_ref()).map_err(|error| {
        let hint = match &error {
            NotKept::Unsound(_) => "ask another service with --pccs; nothing was kept",
            NotKept::GoesBack(_) => {
                "ask another service with --pccs; the newer collateral was kept"
            }
        };
        Failure::new(format!("what {service} says is {error}"), hint)
    })?;
    cache.write(anchor, key, &fetched)?;
    Ok(fetched)
}

/// What to try with a service that gives nothing.
fn hint(error: &ServiceError) -> &'static str {
    match error {
        ServiceError::Address(_) => {
            "give an address such as https://pccs.example:8081, without path"
        }
        ServiceError::Status { status: 404, .. } => {
            "the service does not know this kind of platform; is it registered? else name another with --pccs"
        }
        _ => {
            "is the service up? name another with --pccs or DSTYX_PCCS; collateral in the cache serves until it expires"
        }
    }
}
