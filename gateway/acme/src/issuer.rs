//! One base domain's way to a certificate, step by step; each step's failure says which it was.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gateway_domain::account::{self, AccountStep, Stored};
use gateway_domain::caa::{Caa, OtherPermission};
use gateway_domain::certificate::Certificate;
use gateway_domain::issuance::{
    AccountNamed, AccountPublished, BaseDomain, CaaBound, Failed, Servable, Step,
};
use gateway_domain::name::DomainName;
use gateway_domain::published::{Entry, Subject};
use gateway_domain::read_back::{RESOLVERS, Views};
use protocol::error::chain;

use crate::authority::{AccountKey, AcmeError, Authority, Challenges, Suggested};
use crate::dns::{Provider, ProviderError, Zone};
use crate::leaf_key::LeafKey;
use crate::resolver::Resolver;

/// Begins the name of a challenge (RFC 8555, 8.4).
const CHALLENGE: &str = "_acme-challenge";
/// How long the resolvers may still have earlier records: ours live a minute, those before them may
/// have lived for five.
pub const READ_BACK_TIMEOUT: Duration = Duration::from_secs(600);
/// How often they are asked meanwhile.
const READ_BACK_POLL: Duration = Duration::from_secs(5);

/// Has the guest's quote made over something, and publishes it.
pub trait Attest {
    /// The published evidence about a subject: what there is, or what is made now.
    ///
    /// # Errors
    /// If there is none.
    fn publish(&self, subject: &Subject) -> Result<Entry, String>;
}

/// What it takes to get certificates for one base domain.
pub struct Issuer {
    base: BaseDomain,
    authority: Authority,
    zone: Zone,
    resolvers: [Resolver; RESOLVERS],
    read_back_timeout: Duration,
}

/// A certificate with its key.
pub struct NewCertificate {
    /// The key, which never leaves this gateway.
    pub key: LeafKey,
    /// The certificate.
    pub servable: Servable,
    /// Who else may get certificates for the name, by records that are not this gateway's.
    pub others: Vec<OtherPermission>,
}

/// the step that failed, and why
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", step.doing())]
pub struct IssuerError {
    /// The step.
    pub step: Step,
    /// The reason.
    pub why: String,
}

impl Issuer {
    /// Nothing is asked yet. The records must be seen by both resolvers within `read_back_timeout`,
    /// usually [`READ_BACK_TIMEOUT`].
    pub fn new(
        base: BaseDomain,
        authority: Authority,
        zone: Zone,
        resolvers: [Resolver; RESOLVERS],
        read_back_timeout: Duration,
    ) -> Self {
        Self { base, authority, zone, resolvers, read_back_timeout }
    }

    /// The account: the stored one, or a new one where nothing forbids it, which `save` stores
    /// before it is used.
    ///
    /// # Errors
    /// If there is none, and none may be made.
    pub fn account(
        &self,
        stored: Option<&[u8]>,
        save: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<AccountKey, IssuerError> {
        let failed = |why: String| IssuerError { step: Step::Account, why };
        let read = stored.map(AccountKey::from_stored);
        let known = match &read {
            None => Stored::Nothing,
            Some(Ok(key)) => Stored::Account(key.account().clone()),
            Some(Err(error)) => Stored::Corrupt(chain(error)),
        };
        let records = self.current().map_err(|error| failed(error.why))?;
        let directory = self.authority.directory();
        let (issuer, name) = (self.base.issuer(), self.base.name());
        let step = account::step(known, directory, issuer, name, &records);
        match (step.map_err(|error| failed(chain(&error)))?, read) {
            (AccountStep::Use(_), Some(Ok(key))) => Ok(key),
            _ => {
                let made = self.authority.create_account();
                let key = made.map_err(|error| failed(chain(&error)))?;
                save(&key.to_stored()).map_err(failed)?;
                Ok(key)
            }
        }
    }

    /// The window in which the authority wants a certificate to be renewed.
    ///
    /// # Errors
    /// If it suggests none that can be meant.
    pub fn renewal_window(&self, certificate: &Certificate) -> Result<Suggested, AcmeError> {
        self.authority.renewal_window(certificate)
    }

    /// A certificate for a new key: evidence about the account, records, reading back, order,
    /// evidence about the key, in this order. `former` are addresses of earlier accounts that have
    /// evidence; `replaces` is the certificate that is renewed.
    ///
    /// # Errors
    /// At the first step that fails; nothing is to be served of what it did.
    pub fn certificate(
        &self,
        key: &AccountKey,
        former: &[String],
        replaces: Option<&Certificate>,
        attest: &dyn Attest,
    ) -> Result<NewCertificate, IssuerError> {
        let at = |step: Step| move |why: String| IssuerError { step, why };
        let subject = Subject::Account(key.account().clone());
        let entry = attest.publish(&subject).map_err(at(Step::AccountEvidence))?;
        let named = AccountNamed::new(key.account().clone());
        let published = named.published(&entry);
        let published = published.map_err(|error| at(Step::AccountEvidence)(chain(&error)))?;
        self.set_records(&published, former)?;
        let bound = self.read_back(&published, former)?;
        let others = bound.others().to_vec();

        let failed = |error: &dyn std::error::Error| at(Step::Order)(chain(error));
        let leaf_key = LeafKey::generate().map_err(|error| failed(&error))?;
        let spki = leaf_key.spki().map_err(|error| failed(&error))?;
        let ordered = bound.order(spki).map_err(|error| failed(&error))?;
        let request = leaf_key.request(ordered.names()).map_err(|error| failed(&error))?;
        let order = self.authority.order(key, &ordered, &request, replaces, &ZoneOf(self));
        let chain_der = order.map_err(|error| failed(&error))?;
        let issued = ordered.issued(chain_der, now_secs());
        let issued = issued.map_err(|error| at(Step::Certificate)(chain(&error)))?;
        let subject = Subject::Leaf(issued.leaf().clone());
        let entry = attest.publish(&subject).map_err(at(Step::LeafEvidence))?;
        let servable = issued.published(&entry);
        let servable = servable.map_err(|error| at(Step::LeafEvidence)(chain(&error)))?;
        Ok(NewCertificate { key: leaf_key, servable, others })
    }

    /// The records of the base domain: by its provider, or by a resolver where it has none.
    fn current(&self) -> Result<Vec<Caa>, IssuerError> {
        let failed =
            |error: &dyn std::error::Error| IssuerError { step: Step::Records, why: chain(error) };
        match &self.zone {
            Zone::Own(provider) => provider.caa(self.base.name()).map_err(|error| failed(&error)),
            Zone::Delegated { .. } => {
                self.resolvers[0].caa(self.base.name()).map_err(|error| failed(&error))
            }
        }
    }

    /// Adds what is missing, and then takes away what is old.
    fn set_records(
        &self,
        published: &AccountPublished,
        former: &[String],
    ) -> Result<(), IssuerError> {
        let failed = |why: String| IssuerError { step: Step::Records, why };
        let plan = published.plan(&self.base, &self.current()?, former);
        let name = self.base.name();
        let provider = match &self.zone {
            Zone::Own(provider) => provider,
            Zone::Delegated { .. } if plan.add.is_empty() && plan.remove.is_empty() => {
                return Ok(());
            }
            Zone::Delegated { .. } => {
                let listed = |records: &[Caa]| {
                    records.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                };
                return Err(failed(format!(
                    "the zone of {name} is its owner's: add to {name} the CAA records [{}] and \
                     remove [{}]",
                    listed(&plan.add),
                    listed(&plan.remove)
                )));
            }
        };
        for record in &plan.add {
            provider.add_caa(name, record).map_err(|error| failed(chain(&error)))?;
        }
        let there = self.current()?;
        if let Some(missing) = published.plan(&self.base, &there, former).add.first() {
            return Err(failed(format!("the provider took the record {missing} and has it not")));
        }
        for record in &plan.remove {
            provider.remove_caa(name, record).map_err(|error| failed(chain(&error)))?;
        }
        Ok(())
    }

    /// Asks until every view agrees, or the time for it is over.
    fn read_back(
        &self,
        published: &AccountPublished,
        former: &[String],
    ) -> Result<CaaBound, IssuerError> {
        let deadline = Instant::now() + self.read_back_timeout;
        loop {
            let views = self.views();
            let bound = views.and_then(|views| {
                let bound = published.read_back(self.base.clone(), views, former);
                bound.map_err(|error| chain(&error))
            });
            match bound {
                Ok(bound) => return Ok(bound),
                Err(why) if Instant::now() >= deadline => {
                    return Err(IssuerError { step: Step::ReadBack, why });
                }
                Err(_) => thread::sleep(READ_BACK_POLL.min(self.read_back_timeout)),
            }
        }
    }

    fn views(&self) -> Result<Views, String> {
        let name = self.base.name();
        let provider = match &self.zone {
            Zone::Own(provider) => Some(provider.caa(name).map_err(|error| chain(&error))?),
            Zone::Delegated { .. } => None,
        };
        let [first, second] = &self.resolvers;
        let seen = |resolver: &Resolver| resolver.caa(name).map_err(|error| chain(&error));
        Ok(Views { provider, resolvers: [seen(first)?, seen(second)?] })
    }
}

impl IssuerError {
    /// As the page tells it.
    pub fn at(self, at_secs: u64) -> Failed {
        Failed { step: self.step, why: self.why, at_secs }
    }
}

/// Challenges in the zone of an issuer.
struct ZoneOf<'a>(&'a Issuer);

impl ZoneOf<'_> {
    fn challenge(&self, name: &DomainName) -> Result<(&dyn Provider, DomainName), ProviderError> {
        match &self.0.zone {
            Zone::Own(provider) => {
                let challenge = name.child(CHALLENGE);
                let challenge =
                    challenge.map_err(|error| ProviderError::Form(error.to_string()))?;
                Ok((provider.as_ref(), challenge))
            }
            Zone::Delegated { provider, challenge } => Ok((provider.as_ref(), challenge.clone())),
        }
    }
}

impl Challenges for ZoneOf<'_> {
    fn show(&self, name: &DomainName, text: &str) -> Result<(), ProviderError> {
        let (provider, challenge) = self.challenge(name)?;
        provider.add_text(&challenge, text)
    }

    fn hide(&self, name: &DomainName, text: &str) -> Result<(), ProviderError> {
        let (provider, challenge) = self.challenge(name)?;
        provider.remove_text(&challenge, text)
    }
}

fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests;
