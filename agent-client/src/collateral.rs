//! Collateral for the platforms of guests, and of the own one: fetched when it is first needed, and
//! kept for a while.
//!
//! What the service says counts for nothing until the judgement found it signed and current.
//! Anybody who opens a connection can name a platform, so fetches at a time and platforms that are
//! kept are bounded.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use attestation::{Collateral, PlatformKey, PlatformKeyError, platform_key};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How long collateral is used before it is asked for again; it holds for 30 days, but a new TCB
/// evaluation or a revocation should count soon.
const KEPT: Duration = Duration::from_secs(3600);
/// Most platforms that are kept; one cluster serves machines of a few kinds.
const MAX_KEPT: usize = 32;
/// Most fetches at a time.
const MAX_FETCHES: usize = 4;

/// Why a service gave nothing.
type Refusal = Box<dyn Error + Send + Sync>;
/// Asks the service about one platform; blocks.
type Fetch = dyn Fn(&PlatformKey) -> Result<Collateral, Refusal> + Send + Sync;

/// Why there is no collateral.
#[derive(Debug, thiserror::Error)]
pub enum NoCollateral {
    /// a quote that names no platform
    #[error("the quote names no platform: {0}")]
    Platform(#[from] PlatformKeyError),
    /// the service
    #[error("no collateral: {0}")]
    Service(Refusal),
    /// a fetch that was lost
    #[error("no collateral: the fetch was not finished")]
    Lost,
}

#[derive(Debug)]
struct Kept {
    collateral: Arc<Collateral>,
    fetched: Instant,
}

/// The service, and what it said.
pub struct Collaterals {
    fetch: Arc<Fetch>,
    kept: Mutex<HashMap<PlatformKey, Kept>>,
    fetches: Semaphore,
}

impl std::fmt::Debug for Collaterals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Collaterals")
    }
}

impl Collaterals {
    /// Of a service that `fetch` asks, which may block.
    pub fn new<E: Error + Send + Sync + 'static>(
        fetch: impl Fn(&PlatformKey) -> Result<Collateral, E> + Send + Sync + 'static,
    ) -> Self {
        let fetch = move |key: &PlatformKey| fetch(key).map_err(Refusal::from);
        let (kept, fetches) = (Mutex::default(), Semaphore::new(MAX_FETCHES));
        Self { fetch: Arc::new(fetch), kept, fetches }
    }

    /// Collateral for the platform that a quote names.
    ///
    /// # Errors
    /// If the quote names none, or the service gives none and nothing is kept.
    pub async fn of(&self, quote: &[u8]) -> Result<Arc<Collateral>, NoCollateral> {
        let key = platform_key(quote)?;
        if let Some(collateral) = self.kept(&key, Some(KEPT)) {
            return Ok(collateral);
        }
        let _turn = self.fetches.acquire().await.map_err(|_| NoCollateral::Lost)?;
        if let Some(collateral) = self.kept(&key, Some(KEPT)) {
            return Ok(collateral); // fetched meanwhile, by another connection
        }
        let (fetch, asked) = (Arc::clone(&self.fetch), key);
        let fetched = tokio::task::spawn_blocking(move || fetch(&asked)).await;
        match fetched.map_err(|_| NoCollateral::Lost)? {
            Ok(collateral) => Ok(self.keep(key, collateral)),
            // Whether it is still current, the judgement says.
            Err(error) => self.kept(&key, None).ok_or(NoCollateral::Service(error)),
        }
    }

    fn kept(&self, key: &PlatformKey, within: Option<Duration>) -> Option<Arc<Collateral>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.get(key)?;
        let young = within.is_none_or(|within| kept.fetched.elapsed() < within);
        young.then(|| Arc::clone(&kept.collateral))
    }

    fn keep(&self, key: PlatformKey, collateral: Collateral) -> Arc<Collateral> {
        let collateral = Arc::new(collateral);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        while kept.len() >= MAX_KEPT {
            let oldest = kept.iter().min_by_key(|(_, kept)| kept.fetched);
            let Some(oldest) = oldest.map(|(key, _)| *key) else { break };
            kept.remove(&oldest);
        }
        let fetched = Instant::now();
        kept.insert(key, Kept { collateral: Arc::clone(&collateral), fetched });
        collateral
    }
}

#[cfg(test)]
mod tests {
    use ::tests::emulated::{Emulated, pccs};
    use pccs::{Roots, Service};
    use protocol::digest::ReportData;
    use tdx_emulator::lie::Lie;
    use tokio::time::advance;

    use super::*;

    fn of_service(address: &str) -> Collaterals {
        let service = Service::new(address, &Roots::CompiledIn).unwrap();
        Collaterals::new(move |key| service.fetch(key))
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_service_changes_counts_within_the_hour() {
        let quote = Emulated::new("app", false).evidence(ReportData([1; 64])).quote;
        let mut collaterals = of_service(&pccs(None));
        let first = collaterals.of(&quote).await.unwrap();
        // From now on the service has a list that revokes the platform.
        collaterals.fetch = of_service(&pccs(Some(Lie::RevokedPck))).fetch;
        assert!(Arc::ptr_eq(&first, &collaterals.of(&quote).await.unwrap()));
        advance(KEPT).await;
        let second = collaterals.of(&quote).await.unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(Arc::ptr_eq(&second, &collaterals.of(&quote).await.unwrap()));
        // A service that is away leaves what there is, which the judgement finds too old in time.
        let nobody = "http://127.0.0.1:1";
        collaterals.fetch = of_service(nobody).fetch;
        advance(KEPT).await;
        assert!(Arc::ptr_eq(&second, &collaterals.of(&quote).await.unwrap()));
        let nothing = of_service(nobody);
        assert!(matches!(nothing.of(&quote).await, Err(NoCollateral::Service(_))));
    }
}
