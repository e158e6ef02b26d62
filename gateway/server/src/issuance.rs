//! Keeps one base domain's certificate: out of the store at the start, by an authority when it is
//! due, on a thread of its own.
//!
//! An authority, a provider or a resolver that hangs delays this thread and nothing else. Whatever
//! fails, what was served goes on until it expires, what was stored stays, and the page says why.

mod attest;

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gateway_acme::{AccountKey, Attest as _, Issuer, IssuerError, LeafKey, NewCertificate};
use gateway_domain::account::Account;
use gateway_domain::ari;
use gateway_domain::certificate::Certificate;
use gateway_domain::issuance::{BaseDomain, Servable, Step};
use gateway_domain::published::{Leaf, Subject};
use gateway_rules::names::DomainName;
use protocol::error::chain;
use protocol::strict_json;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::local_authority::{self, LocalAuthority};
use crate::own_pages::{Own, acme_info};
use crate::slots::locked;
use crate::store::{Store, StoreError};

pub use attest::GuestAttest;

/// How long after a failure the next attempt waits, the first time: authorities count failures by
/// the hour.
const FIRST_PAUSE: Duration = Duration::from_secs(300);
/// The longest such time; each failure doubles it.
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3600);
/// Largest stored certificate: a chain of public authorities has 5 KiB.
const MAX_STORED_BYTES: usize = 256 << 10;
/// Keys of certificates that dstack's clients are shown.
const SHOWN_KEYS: usize = 32;

/// Who certifies.
pub enum Certifier {
    /// An authority, step by step.
    Authority(Box<Issuer>),
    /// This process.
    DangerLocal(LocalAuthority),
}

/// What an owner asks of a base domain's thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// A new certificate now.
    Renew,
    /// The stored account is forgotten.
    ForgetAccount,
}

/// Keeps one base domain's certificate.
pub struct Keeper {
    /// The base domain.
    pub base: BaseDomain,
    /// Its name, as clients' names are compared with it.
    pub routed: DomainName,
    /// The address of the authority's directory.
    pub directory: Option<String>,
    /// Who certifies.
    pub certifier: Certifier,
    /// Where account and certificate are.
    pub store: Arc<Mutex<Store>>,
    /// Who publishes.
    pub attest: GuestAttest,
    /// Where the outcome is shown.
    pub own: Arc<Own>,
    /// How long the first failure pauses attempts.
    pub pause: Duration,
}

/// A certificate as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredCertificate {
    pkcs8: Zeroizing<String>,
    chain: Vec<String>,
}

/// Why a stored certificate is not served.
#[derive(Debug, thiserror::Error)]
enum NotRestored {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("it has another form: {0}")]
    Form(String),
    #[error("its key has no published evidence from an account at the configured authority")]
    NoEvidence,
    #[error(transparent)]
    Step(#[from] gateway_domain::issuance::StepError),
    #[error(transparent)]
    Key(#[from] gateway_acme::KeyError),
    #[error("{0}")]
    Tls(String),
}

impl Keeper {
    /// How long the first failure pauses attempts, outside tests.
    pub const PAUSE: Duration = FIRST_PAUSE;

    /// Serves the certificate of the store, if there is one that may be served.
    pub fn restore(&self) {
        let now_secs = now_secs();
        match self.restored(now_secs) {
            Ok(true) => tracing::info!("{}: the stored certificate is served", self.routed),
            Ok(false) => {}
            Err(error) => {
                let why = format!("the stored certificate: {}", chain(&error));
                self.failed(IssuerError { step: Step::Certificate, why });
            }
        }
    }

    /// Gets certificates when they are due and when an owner asks, until nobody can ask any more.
    pub fn run(self, orders: &Receiver<Order>) {
        let (mut pause, mut asked) = (self.pause, false);
        loop {
            let wait = match self.due(asked) {
                Some(wait) => wait,
                None => match self.attempt() {
                    Ok(()) => {
                        pause = self.pause;
                        Duration::ZERO
                    }
                    Err(error) => {
                        self.failed(error);
                        let wait = pause;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                        wait
                    }
                },
            };
            asked = match orders.recv_timeout(wait) {
                Ok(Order::Renew) => true,
                Ok(Order::ForgetAccount) => {
                    self.forget_account();
                    false
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return,
            };
        }
    }

    /// How long until something has to be done; `None`: now.
    fn due(&self, asked: bool) -> Option<Duration> {
        let now_secs = now_secs();
        let domain = self.own.domains.get(&self.routed)?;
        let servable = domain.standing.served(now_secs).filter(|_| !asked)?;
        let certificate = servable.certificate();
        let suggested = match &self.certifier {
            Certifier::Authority(issuer) => issuer.renewal_window(certificate).ok(),
            Certifier::DangerLocal(_) => None,
        };
        let poll_secs = suggested.map_or_else(|| ari::poll_secs(None), |found| found.poll_secs);
        let window = suggested.map(|found| found.window);
        let at_secs = ari::renewal_secs(certificate.validity(), window, spread(certificate));
        let left = at_secs.saturating_sub(now_secs);
        (left > 0).then(|| Duration::from_secs(left.min(poll_secs)))
    }

    /// One way to a certificate, whole.
    fn attempt(&self) -> Result<(), IssuerError> {
        tracing::info!("{}: getting a certificate", self.routed);
        let (made, account) = match &self.certifier {
            Certifier::Authority(issuer) => self.by_authority(issuer)?,
            Certifier::DangerLocal(authority) => (self.by_itself(authority)?, None),
        };
        let NewCertificate { key, servable, others } = made;
        let at = |why: String| IssuerError { step: Step::Certificate, why };
        let pkcs8 = key.to_pkcs8().map_err(|error| at(chain(&error)))?;
        // Stored first: what is served is there after a restart.
        let stored = StoredCertificate {
            pkcs8: Zeroizing::new(STANDARD.encode(pkcs8.as_slice())),
            chain: servable.chain().iter().map(|der| STANDARD.encode(der)).collect(),
        };
        let stored = Zeroizing::new(serde_json::to_vec(&stored).expect("strings serialise"));
        let put = locked(&self.store).put(&self.place("certificate"), &stored);
        put.map_err(|error| at(chain(&error)))?;
        self.serve(&pkcs8, servable, account).map_err(at)?;
        self.own.domains.change(&self.routed, |domain| domain.others = others);
        tracing::info!("{}: a new certificate is served", self.routed);
        Ok(())
    }

    fn by_authority(
        &self,
        issuer: &Issuer,
    ) -> Result<(NewCertificate, Option<Account>), IssuerError> {
        let place = self.place("account");
        let stored = match locked(&self.store).get(&place) {
            // What was forgotten is empty.
            Ok(stored) => stored.filter(|stored| !stored.is_empty()),
            // Not nothing: no account is made beside one that was there.
            Err(StoreError::Seal(_) | StoreError::Gone(_)) => Some(Zeroizing::new(b"?".to_vec())),
            Err(error) => return Err(IssuerError { step: Step::Account, why: chain(&error) }),
        };
        let mut save =
            |bytes: &[u8]| locked(&self.store).put(&place, bytes).map_err(|error| chain(&error));
        let key: AccountKey = issuer.account(stored.as_ref().map(|bytes| &bytes[..]), &mut save)?;
        let account = key.account().clone();
        let former = self.former(&account);
        let served = self.own.domains.get(&self.routed);
        let served = served.and_then(|domain| domain.standing.served(now_secs()).cloned());
        let replaces = served.as_ref().map(Servable::certificate);
        let made = issuer.certificate(&key, &former, replaces, &self.attest)?;
        Ok((made, Some(account)))
    }

    fn by_itself(&self, authority: &LocalAuthority) -> Result<NewCertificate, IssuerError> {
        let at = |step: Step| move |why: String| IssuerError { step, why };
        let ordered = |error: &dyn std::error::Error| at(Step::Order)(chain(error));
        let key = LeafKey::generate().map_err(|error| ordered(&error))?;
        let spki = key.spki().map_err(|error| ordered(&error))?;
        let account = local_authority::ACCOUNT.to_owned();
        let leaf = Leaf::new(account, self.base.certified(), spki.clone());
        let leaf = leaf.map_err(|error| ordered(&error))?;
        let entry = self.attest.publish(&Subject::Leaf(leaf)).map_err(at(Step::LeafEvidence))?;
        let chain_der = authority.certify(&self.base, &spki, now_secs());
        let chain_der = chain_der.map_err(|error| ordered(&error))?;
        let servable = Servable::restore(&entry, &spki, chain_der, now_secs());
        let servable = servable.map_err(|error| at(Step::Certificate)(chain(&error)))?;
        Ok(NewCertificate { key, servable, others: Vec::new() })
    }

    /// Earlier accounts at the same authority that have evidence.
    fn former(&self, account: &Account) -> Vec<String> {
        let store = locked(&self.store);
        let accounts = store.subjects().filter_map(|subject| match subject {
            Subject::Account(known) => Some(known),
            Subject::Leaf(_) => None,
        });
        let former = accounts.filter(|known| {
            known.directory() == account.directory() && known.uri() != account.uri()
        });
        former.map(|known| known.uri().to_owned()).collect()
    }

    fn restored(&self, now_secs: u64) -> Result<bool, NotRestored> {
        let stored = locked(&self.store).get(&self.place("certificate"))?;
        let Some(stored) = stored.filter(|stored| !stored.is_empty()) else { return Ok(false) };
        let form = |what: &str| NotRestored::Form(what.to_owned());
        let stored: StoredCertificate = strict_json::parse(&stored, MAX_STORED_BYTES)
            .map_err(|error| NotRestored::Form(error.to_string()))?;
        let decoded = |text: &str| STANDARD.decode(text).map_err(|_| form("no base64"));
        let pkcs8 = Zeroizing::new(decoded(&stored.pkcs8)?);
        let chain = stored.chain.iter().map(|text| decoded(text)).collect::<Result<Vec<_>, _>>()?;
        let spki = LeafKey::from_pkcs8(&pkcs8)?.spki()?;
        let about =
            |subject: &Subject| matches!(subject, Subject::Leaf(leaf) if leaf.spki() == spki);
        let entry = locked(&self.store).entry(about)?.ok_or(NotRestored::NoEvidence)?;
        let Subject::Leaf(leaf) = &entry.subject else { return Err(NotRestored::NoEvidence) };
        let account = self.account_of(leaf).ok_or(NotRestored::NoEvidence)?;
        let servable = Servable::restore(&entry, &spki, chain, now_secs)?;
        self.serve(&pkcs8, servable, account).map_err(NotRestored::Tls)?;
        Ok(true)
    }

    /// The account that ordered a certificate, if it is one of the certifier's that are configured
    /// now; none of its own for a local authority.
    #[expect(clippy::option_option, reason = "no account, and none that fits")]
    fn account_of(&self, leaf: &Leaf) -> Option<Option<Account>> {
        match &self.directory {
            None => (leaf.account_uri() == local_authority::ACCOUNT).then_some(None),
            Some(directory) => {
                let store = locked(&self.store);
                let mut accounts = store.subjects().filter_map(|subject| match subject {
                    Subject::Account(account) => Some(account),
                    Subject::Leaf(_) => None,
                });
                let found = accounts.find(|account| {
                    account.uri() == leaf.account_uri() && account.directory() == directory
                });
                found.map(|account| Some(account.clone()))
            }
        }
    }

    /// Serves a certificate from the next handshake on; what was served goes on if it cannot be.
    fn serve(
        &self,
        pkcs8: &[u8],
        servable: Servable,
        account: Option<Account>,
    ) -> Result<(), String> {
        let chain_der = servable.chain().iter().map(|der| CertificateDer::from(der.clone()));
        let key = PrivatePkcs8KeyDer::from(pkcs8.to_vec());
        let now = Duration::from_secs(now_secs());
        let installed =
            self.own.certificates.install(&self.routed, chain_der.collect(), key.into(), now);
        installed.map_err(|error| chain(&error))?;
        let info = account.as_ref().and_then(|account| self.acme_info(account));
        self.own.domains.change(&self.routed, |domain| {
            domain.standing.serve(servable);
            domain.since_secs = now.as_secs();
            domain.account = account;
            domain.acme_info = info.unwrap_or_default().into();
        });
        Ok(())
    }

    fn acme_info(&self, account: &Account) -> Option<Vec<u8>> {
        let store = locked(&self.store);
        let about =
            |subject: &Subject| matches!(subject, Subject::Account(known) if known == account);
        let entry = store.entry(about).ok()??;
        let ordered = |subject: &Subject| {
            matches!(subject, Subject::Leaf(leaf) if leaf.account_uri() == account.uri()
                && *leaf.names() == self.base.certified())
        };
        Some(acme_info(&entry, &store.last_entries(SHOWN_KEYS, ordered).ok()?))
    }

    fn forget_account(&self) {
        if let Err(error) = locked(&self.store).forget(&self.place("account")) {
            self.failed(IssuerError { step: Step::Account, why: chain(&error) });
        }
    }

    fn failed(&self, error: IssuerError) {
        tracing::error!("{}: {error}", self.routed);
        let failed = error.at(now_secs());
        self.own.domains.change(&self.routed, |domain| domain.standing.fail(failed));
    }

    fn place(&self, what: &str) -> String {
        format!("{what}/{}", self.routed)
    }
}

/// The local authority of a base domain: the stored one, or a new one where there is none that
/// holds.
///
/// # Errors
/// If there is none.
pub fn local_authority(
    store: &Mutex<Store>,
    base: &BaseDomain,
) -> Result<LocalAuthority, LocalAuthorityError> {
    let place = format!("local-ca/{}", base.name());
    let stored = locked(store).get(&place)?;
    let stored = stored.map(|bytes| LocalAuthority::from_stored(&bytes)).transpose()?;
    if let Some(known) = stored.filter(|known| known.holds(now_secs())) {
        return Ok(known);
    }
    let made = LocalAuthority::generate(base.name(), now_secs())?;
    locked(store).put(&place, &made.to_stored())?;
    Ok(made)
}

/// Why there is no local authority.
#[derive(Debug, thiserror::Error)]
pub enum LocalAuthorityError {
    /// the store
    #[error(transparent)]
    Store(#[from] StoreError),
    /// the authority
    #[error(transparent)]
    Local(#[from] local_authority::LocalError),
}

/// A number of the certificate's own, so that the time of its renewal does not move with each
/// question.
fn spread(certificate: &Certificate) -> u64 {
    let digest = Sha256::digest(certificate.spki());
    u64::from_le_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
}

fn now_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests;
