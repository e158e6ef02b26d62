//! What is known of each base domain: what is served under it, since when, by whom certified, and
//! why a newer certificate is not there.
//!
//! The threads that get certificates write it, pages and metrics read it. It has no secret.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use gateway_domain::account::Account;
use gateway_domain::caa::OtherPermission;
use gateway_domain::issuance::Standing;
use gateway_rules::names::DomainName;
use hyper::body::Bytes;

/// Who certifies the keys of a base domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertifiedBy {
    /// An authority, by the address of its directory.
    Authority(String),
    /// This process: certificates prove nothing about the name.
    DangerLocal {
        /// The certificate of its authority, in PEM.
        root_pem: String,
    },
}

/// One base domain.
#[derive(Debug, Clone)]
pub struct Domain {
    /// Who certifies its keys.
    pub certified_by: CertifiedBy,
    /// What is served, and what failed last.
    pub standing: Standing,
    /// Since when it is served, in seconds since 1970.
    pub since_secs: u64,
    /// The account that ordered it.
    pub account: Option<Account>,
    /// Who else may get certificates by the name's records.
    pub others: Vec<OtherPermission>,
    /// What dstack's clients read of it.
    pub acme_info: Bytes,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Domains(RwLock<BTreeMap<DomainName, Domain>>);

impl Domain {
    /// Nothing is served yet.
    pub fn new(certified_by: CertifiedBy) -> Self {
        Self {
            certified_by,
            standing: Standing::default(),
            since_secs: 0,
            account: None,
            others: Vec::new(),
            acme_info: Bytes::new(),
        }
    }
}

impl Domains {
    /// Begins with a base domain.
    pub fn add(&self, name: DomainName, domain: Domain) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name, domain);
    }

    /// Changes what is known of one.
    pub fn change(&self, name: &DomainName, change: impl FnOnce(&mut Domain)) {
        let mut domains = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(domain) = domains.get_mut(name) {
            change(domain);
        }
    }

    /// What is known of one.
    pub fn get(&self, name: &DomainName) -> Option<Domain> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// What is known of all.
    pub fn all(&self) -> Vec<(DomainName, Domain)> {
        let domains = self.0.read().unwrap_or_else(PoisonError::into_inner);
        domains.iter().map(|(name, domain)| (name.clone(), domain.clone())).collect()
    }
}
