//! The order in which a base domain gets a certificate, as types of which each is made from the one
//! before it:
//!
//! [`AccountNamed`] → [`AccountPublished`] → [`CaaBound`] → [`Ordered`] → [`Issued`] → [`Servable`]
//!
//! So nothing can be ordered before the account has evidence and the zone's records bind it to the
//! name, and nothing is served before its key has evidence. What was served before goes on whatever
//! fails; [`Standing`] says what failed.

use crate::account::Account;
use crate::caa::{Binding, Caa, OtherPermission, Plan};
use crate::certificate::{Certificate, CertificateError, Validity};
use crate::name::{CertifiedName, DomainName};
use crate::published::{Entry, Leaf, LineError, Subject};
use crate::read_back::{Agreed, Disagreement, Views, agree};

/// Clocks of authorities and of this gateway differ by as much at most.
const CLOCK_SECS: u64 = 300;

/// A base domain: its certificate is for the name and for every host one label below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseDomain {
    name: DomainName,
    issuer: DomainName,
}

/// The authority knows the account by a key of this gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountNamed {
    account: Account,
}

/// The account's evidence is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountPublished {
    account: Account,
}

/// The name's records bind it to the account, and every view agrees that they do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaaBound {
    base: BaseDomain,
    account: Account,
    others: Vec<OtherPermission>,
}

/// A key was born in this guest, and a certificate for it may be ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered {
    bound: CaaBound,
    leaf: Leaf,
}

/// The authority issued a certificate for exactly that key and those names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    leaf: Leaf,
    chain: Vec<Vec<u8>>,
    certificate: Certificate,
}

/// A certificate whose key has published evidence: the only thing that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Servable {
    issued: Issued,
}

/// A step, as a person is told which one failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Finding or making the account.
    Account,
    /// Publishing evidence about it.
    AccountEvidence,
    /// Setting the zone's records.
    Records,
    /// Reading them back.
    ReadBack,
    /// Ordering the certificate.
    Order,
    /// Judging what the authority issued.
    Certificate,
    /// Publishing evidence about the certificate's key.
    LeafEvidence,
}

/// Why a step was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// published evidence about something else
    #[error("the published evidence is not about {0}")]
    OtherEvidence(&'static str),
    /// records that cannot be read back
    #[error(transparent)]
    ReadBack(#[from] Disagreement),
    /// a key that is none
    #[error(transparent)]
    Leaf(#[from] LineError),
    /// a certificate that cannot be read
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// a certificate for another key
    #[error("the certificate is for another key than the one that was ordered")]
    OtherKey,
    /// a certificate for other names
    #[error("the certificate is for {found}, but {expected} were ordered")]
    OtherNames {
        /// Its names.
        found: String,
        /// The names of the order.
        expected: String,
    },
    /// a certificate of another time
    #[error("the certificate is valid from {from_secs} to {until_secs}, but it is {now_secs} now")]
    OtherTime {
        /// Its first second, since 1970.
        from_secs: u64,
        /// Its last second, since 1970.
        until_secs: u64,
        /// Now, in seconds since 1970.
        now_secs: u64,
    },
}

/// What is served under a base domain, and what went wrong since.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    served: Option<Servable>,
    failure: Option<Failed>,
}

/// The last attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The step.
    pub step: Step,
    /// The reason, as a person reads it.
    pub why: String,
    /// When, in seconds since 1970.
    pub at_secs: u64,
}

impl BaseDomain {
    /// A base domain whose certificates come from the authority that calls itself `issuer` in CAA
    /// records.
    pub fn new(name: DomainName, issuer: DomainName) -> Self {
        Self { name, issuer }
    }

    /// The name.
    pub fn name(&self) -> &DomainName {
        &self.name
    }

    /// The authority's name in CAA records.
    pub fn issuer(&self) -> &DomainName {
        &self.issuer
    }

    /// The names of its certificate, in ascending order.
    pub fn certified(&self) -> Vec<CertifiedName> {
        let mut names =
            vec![CertifiedName::host(self.name.clone()), CertifiedName::below(self.name.clone())];
        names.sort();
        names
    }
}

impl AccountNamed {
    /// What the authority answered about a key of this gateway.
    pub fn new(account: Account) -> Self {
        Self { account }
    }

    /// The account.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Goes on with evidence that is published.
    ///
    /// # Errors
    /// If it is about something else.
    pub fn published(self, entry: &Entry) -> Result<AccountPublished, StepError> {
        match &entry.subject {
            Subject::Account(account) if *account == self.account => {
                Ok(AccountPublished { account: self.account })
            }
            _ => Err(StepError::OtherEvidence("this account")),
        }
    }
}

impl AccountPublished {
    /// The account.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// What to change in the zone of a base domain; what is added comes first. `former` are
    /// addresses of earlier accounts of this gateway.
    pub fn plan(&self, base: &BaseDomain, current: &[Caa], former: &[String]) -> Plan {
        self.binding(base).plan(current, former)
    }

    /// Goes on with records that every view agrees on.
    ///
    /// # Errors
    /// If a view differs: nothing may be ordered then.
    pub fn read_back(
        &self,
        base: BaseDomain,
        views: Views,
        former: &[String],
    ) -> Result<CaaBound, StepError> {
        let binding = self.binding(&base);
        let agreed: Agreed = agree(views, &binding, former)?;
        let others = binding.others(agreed.records());
        Ok(CaaBound { base, account: self.account.clone(), others })
    }

    fn binding(&self, base: &BaseDomain) -> Binding {
        Binding::new(base.issuer.clone(), self.account.uri())
    }
}

impl CaaBound {
    /// The account that the name is bound to.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Who else may issue for the name by records that are not this gateway's: the page says so.
    pub fn others(&self) -> &[OtherPermission] {
        &self.others
    }

    /// Goes on with a key that was born in this guest (DER of its SubjectPublicKeyInfo).
    ///
    /// # Errors
    /// If it is no key.
    pub fn order(self, spki: Vec<u8>) -> Result<Ordered, StepError> {
        let uri = self.account.uri().to_owned();
        let leaf = Leaf::new(uri, self.base.certified(), spki)?;
        Ok(Ordered { bound: self, leaf })
    }
}

impl Ordered {
    /// The account that orders.
    pub fn account(&self) -> &Account {
        &self.bound.account
    }

    /// The names that are ordered.
    pub fn names(&self) -> &[CertifiedName] {
        self.leaf.names()
    }

    /// Goes on with what the authority issued: the chain in DER, the leaf first.
    ///
    /// # Errors
    /// If it is for another key, other names or another time.
    pub fn issued(self, chain: Vec<Vec<u8>>, now_secs: u64) -> Result<Issued, StepError> {
        Issued::new(self.leaf, chain, now_secs)
    }
}

impl Issued {
    fn new(leaf: Leaf, chain: Vec<Vec<u8>>, now_secs: u64) -> Result<Self, StepError> {
        let first = chain.first().map(Vec::as_slice).unwrap_or_default();
        let certificate = Certificate::parse(first)?;
        if certificate.spki() != leaf.spki() {
            return Err(StepError::OtherKey);
        }
        if certificate.names() != leaf.names() {
            let [found, expected] = [certificate.names(), leaf.names()].map(listed);
            return Err(StepError::OtherNames { found, expected });
        }
        let validity = certificate.validity();
        let Validity { not_before_secs: from_secs, not_after_secs: until_secs } = validity;
        if now_secs.saturating_add(CLOCK_SECS) < from_secs || now_secs > until_secs {
            return Err(StepError::OtherTime { from_secs, until_secs, now_secs });
        }
        Ok(Self { leaf, chain, certificate })
    }

    /// What evidence has to be published about.
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// Goes on with evidence that is published.
    ///
    /// # Errors
    /// If it is about something else.
    pub fn published(self, entry: &Entry) -> Result<Servable, StepError> {
        match &entry.subject {
            Subject::Leaf(leaf) if *leaf == self.leaf => Ok(Servable { issued: self }),
            _ => Err(StepError::OtherEvidence("this certificate's key")),
        }
    }
}

impl Servable {
    /// A certificate out of the store, with the key beside it there and the evidence that was
    /// published: judged as one that has just been issued.
    ///
    /// # Errors
    /// If it has expired or is for another key than the published one.
    pub fn restore(
        entry: &Entry,
        spki: &[u8],
        chain: Vec<Vec<u8>>,
        now_secs: u64,
    ) -> Result<Self, StepError> {
        match &entry.subject {
            Subject::Leaf(leaf) if leaf.spki() == spki => {
                Issued::new(leaf.clone(), chain, now_secs)?.published(entry)
            }
            _ => Err(StepError::OtherEvidence("the stored key")),
        }
    }

    /// The chain in DER, the leaf first.
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.issued.chain
    }

    /// The leaf.
    pub fn certificate(&self) -> &Certificate {
        &self.issued.certificate
    }
}

impl Standing {
    /// Serves this from now on; what went wrong before is over.
    pub fn serve(&mut self, servable: Servable) {
        *self = Self { served: Some(servable), failure: None };
    }

    /// Notes an attempt that failed; what is served goes on.
    pub fn fail(&mut self, failed: Failed) {
        self.failure = Some(failed);
    }

    /// What is served at a time; an expired certificate is not.
    pub fn served(&self, now_secs: u64) -> Option<&Servable> {
        let in_time =
            |servable: &&Servable| now_secs <= servable.certificate().validity().not_after_secs;
        self.served.as_ref().filter(in_time)
    }

    /// The last attempt, if it failed.
    pub fn failure(&self) -> Option<&Failed> {
        self.failure.as_ref()
    }
}

impl Step {
    /// What was being done, as a person reads it.
    pub fn doing(self) -> &'static str {
        match self {
            Self::Account => "finding the account at the authority",
            Self::AccountEvidence => "publishing evidence about the account's key",
            Self::Records => "setting the CAA records",
            Self::ReadBack => "reading the CAA records back",
            Self::Order => "ordering the certificate",
            Self::Certificate => "judging the issued certificate",
            Self::LeafEvidence => "publishing evidence about the certificate's key",
        }
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.step.doing(), self.why)
    }
}

fn listed(names: &[CertifiedName]) -> String {
    match names {
        [] => "no name".to_owned(),
        names => names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests;
