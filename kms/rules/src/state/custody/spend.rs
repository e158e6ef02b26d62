//! Uses of quotas: counted before anything of a run leaves, once, and never given back.
//!
//! A quota of a Pad's policy is an account of that Pad's custodian and of the engine that asks for
//! it, so that nobody uses up what others have. Who may ask is who may have the Pad's key.

use std::collections::BTreeMap;

use pad_format::CustodianId;
use pad_rules::{MAX_PERIOD_SECS, MAX_USES, OwnerId, Quota, QuotaId, Spent};
use protocol::digest::{Ed25519Key, RequestId, Sha256Digest};
use protocol::kms::{MAX_PADS_A_CALL, QuotaUse, SpendRequest};
use protocol::rule::unless;

use super::release::{check_engine, check_time};
use super::request::{digest, fixed, key_name};
use super::{Custody, Facts, MAX_ACCOUNTS, MAX_ACCOUNTS_EACH, OfCustodian, check_middleware};
use crate::guest::Guest;
use crate::ledger::{Entry, HexBytes, Kind, QuotaSpent, QuotasSpent};
use crate::refused::{PadRefused, Refused};
use crate::state::State;
use crate::state::guests::{Reasons, first, who};

/// Uses that one call may count.
const MAX_USES_A_CALL: usize = MAX_PADS_A_CALL;

/// An account of a custodian with an engine, and whose uses of it are counted.
pub(super) type Account = (CustodianId, OfCustodian);

/// Counts uses of quotas, all of them or none; `None` if this very call was counted already.
///
/// # Errors
/// If a quota is used up, or the guest may not have the key of a Pad whose quota it is.
pub fn spend(
    state: &State,
    guest: &Guest,
    member: &Ed25519Key,
    request: &SpendRequest,
    clock_secs: u64,
) -> Result<Option<Entry>, Refused> {
    check_middleware(state, guest, member, clock_secs)?;
    let request_id = RequestId(fixed(&request.request_id, "request id has not 16 bytes")?);
    let (found, limit) = (request.uses.len(), MAX_USES_A_CALL);
    let count = || PadRefused::Count { what: "uses of quotas", found, limit };
    unless((1..=limit).contains(&found), count)?;
    let use_of = |asked| use_of(&state.custody, asked);
    let uses = request.uses.iter().map(use_of).collect::<Result<Vec<_>, _>>()?;
    let now_secs = state.now(clock_secs);
    first(use_reasons(&state.custody, &uses, &Facts::of_guest(guest), now_secs))?;
    let kind = Kind::QuotasSpent(QuotasSpent { who: who(guest)?, request_id, uses: uses.clone() });
    if state.custody.is_repeated(request_id, &kind)? {
        return Ok(None);
    }
    spent(&state.custody, &uses, now_secs)?;
    Ok(Some(state.next(kind, clock_secs)))
}

fn use_of(custody: &Custody, asked: &QuotaUse) -> Result<QuotaSpent, PadRefused> {
    let account: [u8; 16] = fixed(&asked.account, "account has not 16 bytes")?;
    Ok(QuotaSpent {
        key: custody.number(&key_name(asked.pad.as_ref())?)?,
        engine: digest(&asked.engine, "engine has not 32 bytes")?,
        account: HexBytes(account.to_vec()),
        owner: digest(&asked.owner, "owner has not 32 bytes")?,
        uses: asked.uses,
        period_secs: asked.period_secs,
    })
}

/// Every rule by which a guest may not count these uses.
pub(super) fn use_reasons(
    custody: &Custody,
    uses: &[QuotaSpent],
    facts: &Facts,
    now_secs: u64,
) -> Vec<Refused> {
    let mut reasons = Reasons::default();
    for quota in uses {
        let Some(key) = custody.numbered(quota.key) else { continue };
        key.check_standing(&mut reasons);
        key.check_guest(&mut reasons, facts);
        check_time(&mut reasons, key, now_secs);
        check_engine(&mut reasons, key, quota.engine);
    }
    reasons.0
}

/// The accounts after these uses: those of one account are one use, which all their rules allow.
pub(super) fn spent(
    custody: &Custody,
    uses: &[QuotaSpent],
    now_secs: u64,
) -> Result<BTreeMap<Account, Spent>, PadRefused> {
    let mut asked: BTreeMap<Account, Vec<Quota>> = BTreeMap::new();
    for quota in uses {
        let (account, rule) = read(custody, quota)?;
        asked.entry(account).or_default().push(rule);
    }
    check_accounts(custody, asked.keys())?;
    let mut after = BTreeMap::new();
    for (account, rules) in asked {
        let mut spent = custody.spent(&account).cloned().unwrap_or_default();
        let counted = spent.spend(&rules, now_secs);
        unless(counted, || PadRefused::QuotaUsedUp {
            account: hex::encode(account.1.1.0),
            owner: Sha256Digest(account.1.2.0),
        })?;
        after.insert(account, spent);
    }
    Ok(after)
}

fn read(custody: &Custody, quota: &QuotaSpent) -> Result<(Account, Quota), PadRefused> {
    let QuotaSpent { key, engine, account, owner, uses, period_secs } = quota;
    let key = custody.numbered(*key).ok_or(PadRefused::Field("key has no such number"))?;
    let account = QuotaId(fixed(&account.0, "account has not 16 bytes")?);
    let (uses, period_secs, owner) = (*uses, *period_secs, OwnerId(owner.0));
    let known = (1..=MAX_USES).contains(&uses) && (1..=MAX_PERIOD_SECS).contains(&period_secs);
    unless(known, || PadRefused::QuotaForm { uses, period_secs })?;
    let of_custodian = (*engine, account, owner);
    Ok(((key.name.custodian, of_custodian), Quota { owner, uses, period_secs }))
}

/// Refuses accounts beyond the budgets.
fn check_accounts<'a>(
    custody: &Custody,
    asked: impl Iterator<Item = &'a Account>,
) -> Result<(), PadRefused> {
    let mut new: BTreeMap<CustodianId, usize> = BTreeMap::new();
    for account in asked.filter(|account| custody.spent(account).is_none()) {
        *new.entry(account.0).or_default() += 1;
    }
    for (custodian, more) in &new {
        let found = custody.enrolled(custodian)?.accounts.len();
        let of = "of the custodian";
        let room = found + more <= MAX_ACCOUNTS_EACH;
        unless(room, || PadRefused::TooManyAccounts { found, of })?;
    }
    let (found, more) = (custody.accounts, new.values().sum::<usize>());
    let room = found + more <= MAX_ACCOUNTS;
    unless(room, || PadRefused::TooManyAccounts { found, of: "in all" })
}

impl Custody {
    fn spent(&self, (custodian, account): &Account) -> Option<&Spent> {
        self.custodians.get(custodian)?.accounts.get(account)
    }

    /// Keeps what is spent now.
    pub(super) fn keep_spent(&mut self, after: BTreeMap<Account, Spent>) {
        for ((custodian, account), spent) in after {
            let Some(enrolled) = self.custodians.get_mut(&custodian) else { continue };
            let before = enrolled.accounts.insert(account, spent);
            self.accounts += usize::from(before.is_none());
        }
    }
}
