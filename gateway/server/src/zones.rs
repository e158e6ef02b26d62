//! Zones as the file names them, with secrets out of the encrypted environment.

use gateway_acme::Trust;
use gateway_acme::dns::{CLOUDFLARE_API, Cloudflare, SignedUpdates, UpdateKey};
use gateway_acme::dns::{Provider as Changes, ProviderError, Zone as Changed};

use crate::config::{ConfigError, Provider, Zone, decoded, secret};

/// Why a zone cannot be changed.
#[derive(Debug, thiserror::Error)]
pub enum ZoneError {
    /// a secret
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// a provider that cannot be asked
    #[error(transparent)]
    Provider(#[from] ProviderError),
}

/// A zone; asks nothing yet. `environment` gives variables' values.
///
/// # Errors
/// If a secret is missing or malformed.
pub fn zone(
    zone: &Zone,
    trust: &Trust,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Changed, ZoneError> {
    Ok(match zone {
        Zone::Own(changes) => Changed::Own(provider(changes, trust, environment)?),
        Zone::Delegated { challenge, provider: changes } => Changed::Delegated {
            provider: provider(changes, trust, environment)?,
            challenge: challenge.clone(),
        },
    })
}

fn provider(
    provider: &Provider,
    trust: &Trust,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Box<dyn Changes>, ZoneError> {
    let secret = secret(provider.variable(), environment)?;
    Ok(match provider {
        Provider::Updates { server, zone, key_name, secret_variable } => {
            let key = UpdateKey::new(key_name.clone(), decoded(secret_variable, &secret)?);
            Box::new(SignedUpdates::new(*server, zone.clone(), &key)?)
        }
        Provider::Cloudflare { zone_id, .. } => {
            Box::new(Cloudflare::new(CLOUDFLARE_API, zone_id, secret, trust)?)
        }
    })
}
