//! Uses of quotas in local runs, in a file of this user.
//!
//! Nobody is bound by it, since the user may remove it; it lets an author see when a policy says
//! no.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pad_pipeline::delegator::Spend;
use pad_rules::{OwnerId, Quota, Spent};
use protocol::strict_json;

use crate::failure::{Hint as _, Outcome};
use crate::{paths, private};

/// Largest file: the times of some hundred accounts.
const MAX_BYTES: usize = 8 << 20;
/// Name of the file in this user's state.
const FILE: &str = "pads-local-quotas.json";

/// When each account was used.
#[derive(Debug)]
pub struct Quotas {
    file: PathBuf,
    times: BTreeMap<String, Vec<u64>>,
}

impl Quotas {
    /// Those of this user.
    ///
    /// # Errors
    /// If the file is there and not one of these.
    pub fn load() -> Outcome<Self> {
        Self::load_from(paths::state_directory()?.join(FILE))
    }

    fn load_from(file: PathBuf) -> Outcome<Self> {
        let times = match private::read(&file, MAX_BYTES as u64)? {
            None => BTreeMap::new(),
            Some(bytes) => {
                let hint = "move the file away: local runs begin with unused quotas then";
                strict_json::parse(&bytes, MAX_BYTES).hint(file.display(), hint)?
            }
        };
        Ok(Self { file, times })
    }

    /// Counts these uses, all or none; the first one that is not left otherwise. Uses of one
    /// account by one owner are one use.
    ///
    /// # Errors
    /// If the file cannot be written; nothing is counted then.
    pub fn spend(&mut self, uses: &[Spend], now: u64) -> Outcome<Result<(), usize>> {
        let mut accounts: BTreeMap<String, (usize, Vec<Quota>)> = BTreeMap::new();
        for (index, spend) in uses.iter().enumerate() {
            let rules = accounts.entry(account(spend)).or_insert((index, Vec::new()));
            rules.1.push(quota(spend));
        }
        let mut times = self.times.clone();
        for (account, (index, rules)) in accounts {
            let mut spent = Spent::new(times.remove(&account).unwrap_or_default());
            if !spent.spend(&rules, now) {
                return Ok(Err(index));
            }
            times.insert(account, spent.times().to_vec());
        }
        let json = serde_json::to_vec(&times).expect("it holds strings and numbers");
        private::replace(&self.file, &json).hint(self.file.display(), "is it writable?")?;
        self.times = times;
        Ok(Ok(()))
    }
}

fn account(spend: &Spend) -> String {
    let Spend { key_provider_id, engine, custodian, quota } = spend;
    let (account, owner) = (hex::encode(quota.account), quota.owner);
    format!("{key_provider_id} {engine} {custodian} {account} {owner}")
}

fn quota(spend: &Spend) -> Quota {
    let quota = spend.quota;
    Quota { owner: OwnerId(quota.owner.0.0), uses: quota.uses, period_secs: quota.period_secs }
}

#[cfg(test)]
mod tests {
    use pad_format::CustodianId;
    use pad_pipeline::delegator::QuotaUse;
    use protocol::digest::Sha256Digest;

    use super::*;

    fn spend(account: u8, owner: u8, uses: u64) -> Spend {
        let custodian = CustodianId(Sha256Digest([9; 32]));
        let owner = CustodianId(Sha256Digest([owner; 32]));
        let quota = QuotaUse { account: [account; 16], owner, uses, period_secs: 60 };
        Spend {
            key_provider_id: Sha256Digest([1; 32]),
            engine: Sha256Digest([2; 32]),
            custodian,
            quota,
        }
    }

    #[test]
    fn uses_are_counted_over_runs_and_all_or_none() {
        let directory = tempfile::tempdir().unwrap();
        let load = || Quotas::load_from(directory.path().join(FILE)).unwrap();
        for second in 0..2 {
            let both = [spend(1, 1, 2), spend(2, 1, 3)];
            assert_eq!(load().spend(&both, 1000 + second).unwrap(), Ok(()));
        }
        assert_eq!(load().spend(&[spend(2, 1, 3), spend(1, 1, 2)], 1002).unwrap(), Err(1));
        assert_eq!(load().spend(&[spend(2, 1, 3)], 1002).unwrap(), Ok(()), "it was not counted");
        assert_eq!(load().spend(&[spend(2, 1, 3)], 1003).unwrap(), Err(0));
        assert_eq!(load().spend(&[spend(1, 2, 2)], 1003).unwrap(), Ok(()), "another owner");
        assert_eq!(load().spend(&[spend(1, 1, 2)], 1060).unwrap(), Ok(()), "the next minute");
    }

    #[test]
    fn two_rules_about_one_account_are_one_use() {
        let directory = tempfile::tempdir().unwrap();
        let mut quotas = Quotas::load_from(directory.path().join(FILE)).unwrap();
        let twice = [spend(1, 1, 5), spend(1, 1, 2)];
        assert_eq!(quotas.spend(&twice, 1000).unwrap(), Ok(()));
        assert_eq!(quotas.spend(&twice, 1000).unwrap(), Ok(()));
        assert_eq!(quotas.spend(&twice, 1000).unwrap(), Err(0));
    }
}
