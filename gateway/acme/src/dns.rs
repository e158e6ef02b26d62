//! Providers of domain name service: what sets and reads the records of a zone.

mod cloudflare;
mod updates;

use gateway_domain::caa::{Caa, CaaError};
use gateway_domain::dns::AnswerError;
use gateway_domain::name::DomainName;

pub use cloudflare::{API as CLOUDFLARE_API, Cloudflare};
pub use updates::{SignedUpdates, UpdateKey};

use crate::http::HttpError;

/// How long resolvers may keep a record of ours, in seconds: a change is seen within two minutes.
pub const TTL_SECS: u32 = 60;

/// A zone whose records may be changed.
pub trait Provider: Send + Sync {
    /// The CAA records at a name.
    ///
    /// # Errors
    /// If the provider does not say.
    fn caa(&self, name: &DomainName) -> Result<Vec<Caa>, ProviderError>;

    /// Adds a CAA record beside those that are there.
    ///
    /// # Errors
    /// If the provider does not say that it did.
    fn add_caa(&self, name: &DomainName, record: &Caa) -> Result<(), ProviderError>;

    /// Removes exactly this CAA record.
    ///
    /// # Errors
    /// If the provider does not say that it did.
    fn remove_caa(&self, name: &DomainName, record: &Caa) -> Result<(), ProviderError>;

    /// Adds a text beside those that are there.
    ///
    /// # Errors
    /// If the provider does not say that it did.
    fn add_text(&self, name: &DomainName, text: &str) -> Result<(), ProviderError>;

    /// Removes exactly this text.
    ///
    /// # Errors
    /// If the provider does not say that it did.
    fn remove_text(&self, name: &DomainName, text: &str) -> Result<(), ProviderError>;
}

/// In whose hands the records of a base domain are.
pub enum Zone {
    /// The gateway may change the zone.
    Own(Box<dyn Provider>),
    /// `_acme-challenge.<base>` is an alias of a name in a zone that holds nothing else, which
    /// alone the gateway may change. Its owner sets the CAA records.
    Delegated {
        /// The zone of challenges.
        provider: Box<dyn Provider>,
        /// Where the alias leads.
        challenge: DomainName,
    },
}

/// Why a provider did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// no answer
    #[error(transparent)]
    Http(#[from] HttpError),
    /// no connection
    #[error("the name server: {0}")]
    Connection(#[from] std::io::Error),
    /// an answer that says nothing
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// a record that cannot be read
    #[error(transparent)]
    Caa(#[from] CaaError),
    /// an answer without the key's signature, or with another one
    #[error("the name server's answer is not signed as it should be: {0}")]
    Unsigned(String),
    /// a refusal
    #[error("the provider refuses: {0}")]
    Refused(String),
    /// an answer of another form
    #[error("the provider's answer has another form: {0}")]
    Form(String),
    /// a name outside the zone
    #[error("{name} is not in the zone {zone}")]
    OtherZone {
        /// The name.
        name: DomainName,
        /// The zone.
        zone: DomainName,
    },
}
