//! An entry of the key delegator changes the state, if it could have been decided there.

use std::collections::BTreeSet;

use pad_format::grant::{Grant, Revocation};
use pad_format::metadata::KeyId;
use pad_format::uuid::{PadId, Uuid};
use pad_format::{Conditions, CustodianId, KeyName};
use protocol::kms::MAX_PADS_A_CALL;

use super::custodians::{check_delegator, check_enrolment, check_grant, check_statement};
use super::keep::{check_new, check_replacement};
use super::release::{Run, release_reasons};
use super::request::are_unique;
use super::spend::{spent, use_reasons};
use super::watch::{check_records, head_reasons};
use super::{Custody, Enrolled, Facts, PadKey, Standing};
use crate::ledger::{
    AuditHeadGiven, CustodianEnrolled, Fault, HexBytes, Kind, PadKeyGranted, PadKeyKept,
    PadKeyReplaced, PadKeyRevoked, PadKeysReleased, QuotasSpent,
};
use crate::refused::Refused;
use crate::state::State;
use crate::state::fold::rule;
use crate::state::guests::first;

/// Most bytes of a sealed key: its salt, the key and a tag.
const MAX_SEALED_BYTES: usize = 128;

impl State {
    /// Applies an entry of the key delegator.
    pub(in crate::state) fn custody_entry(
        &mut self,
        kind: &Kind,
        time_secs: u64,
    ) -> Result<(), Fault> {
        match kind {
            Kind::CustodianEnrolled(enrolled) => self.custodian_enrolled(enrolled, time_secs)?,
            Kind::PadKeyGranted(granted) => self.pad_key_granted(granted)?,
            Kind::PadKeyRevoked(revoked) => self.pad_key_revoked(revoked)?,
            Kind::PadKeysReleased(released) => {
                self.custody.released(released, kind, time_secs)?;
            }
            Kind::QuotasSpent(quotas) => self.custody.quotas_spent(quotas, kind, time_secs)?,
            Kind::PadKeyKept(kept) => self.custody.kept(kept, time_secs)?,
            Kind::PadKeyReplaced(replaced) => self.custody.replaced(replaced, time_secs)?,
            Kind::AuditHeadGiven(given) => self.custody.head_given(given)?,
            _ => return Err(rule("no entry of the key delegator")),
        }
        Ok(())
    }

    fn custodian_enrolled(&mut self, entry: &CustodianEnrolled, time: u64) -> Result<(), Fault> {
        let id = CustodianId(entry.custodian);
        let enrolment =
            check_enrolment(self, &id, &entry.by, &entry.enrolment.0, time).map_err(rule)?;
        let custody = &mut self.custody;
        let known = custody.custodians.remove(&id);
        let (keys, accounts) = known.map_or_else(Default::default, |k| (k.keys, k.accounts));
        custody.custodians.insert(id, Enrolled { enrolment, keys, accounts });
        custody.enrolments += 1;
        Ok(())
    }

    fn pad_key_granted(&mut self, entry: &PadKeyGranted) -> Result<(), Fault> {
        let grant = check_statement::<Grant>(self, &entry.by, &entry.grant.0).map_err(rule)?;
        let grant = grant.into_statement();
        check_delegator(self, grant.key_provider_id).map_err(rule)?;
        let custody = &mut self.custody;
        let came = (!entry.sealed.is_empty()).then_some(grant.digest);
        let number = check_grant(custody, &grant, came).map_err(rule)?;
        if number.unwrap_or_else(|| custody.next_number()) != entry.key {
            return Err(rule(format!("a grant of the key {}", entry.key)));
        }
        let Grant { name, version, digest, conditions, .. } = grant;
        if let Some(known) = number.and_then(|number| custody.numbered_mut(number)) {
            (known.version, known.conditions) = (version, conditions);
            return Ok(());
        }
        let sealed = sealed(&entry.sealed)?;
        let standing = Standing::Granted;
        let (releases, policies) = (0, 0);
        custody.add(PadKey {
            name,
            digest,
            version,
            conditions,
            releases,
            policies,
            sealed,
            standing,
            made_of: Vec::new(),
        });
        Ok(())
    }

    fn pad_key_revoked(&mut self, entry: &PadKeyRevoked) -> Result<(), Fault> {
        let bytes = &entry.revocation.0;
        let revocation = check_statement::<Revocation>(self, &entry.by, bytes).map_err(rule)?;
        let Revocation { name, key_provider_id } = revocation.into_statement();
        check_delegator(self, key_provider_id).map_err(rule)?;
        let number = self.custody.number(&name).map_err(rule)?;
        let key = self.custody.numbered_mut(number).filter(|_| number == entry.key);
        let key = key.ok_or_else(|| rule(format!("a revocation of the key {}", entry.key)))?;
        key.end(Standing::Revoked);
        self.custody.end_what_was_made_of(&name);
        Ok(())
    }
}

impl Custody {
    fn released(
        &mut self,
        entry: &PadKeysReleased,
        kind: &Kind,
        time_secs: u64,
    ) -> Result<(), Fault> {
        let PadKeysReleased { who, request_id, keys, engines, .. } = entry;
        self.check_numbers(keys)?;
        if engines.is_empty() {
            return Err(rule("a release for a run without engines"));
        }
        self.check_once(*request_id, kind)?;
        let run = Run { facts: Facts::of_who(who), engines, counts: true };
        first(release_reasons(self, keys, &run, time_secs)).map_err(rule)?;
        for number in keys {
            if let Some(key) = self.numbered_mut(*number) {
                key.releases += 1;
            }
        }
        self.remember(*request_id, kind);
        Ok(())
    }

    fn quotas_spent(&mut self, entry: &QuotasSpent, kind: &Kind, time: u64) -> Result<(), Fault> {
        let QuotasSpent { who, request_id, uses } = entry;
        if !(1..=MAX_PADS_A_CALL).contains(&uses.len()) {
            return Err(rule(format!("{} uses of quotas", uses.len())));
        }
        self.check_once(*request_id, kind)?;
        first(use_reasons(self, uses, &Facts::of_who(who), time)).map_err(rule)?;
        let after = spent(self, uses, time).map_err(rule)?;
        self.keep_spent(after);
        self.remember(*request_id, kind);
        Ok(())
    }

    fn kept(&mut self, entry: &PadKeyKept, time_secs: u64) -> Result<(), Fault> {
        let custodian = CustodianId(entry.custodian);
        let key_id = KeyId::new(&entry.key_id.0).map_err(rule)?;
        let pad_id = entry.pad_id.0.as_slice().try_into();
        let pad_id = pad_id.map_err(|_| rule("a Pad's id of another length"))?;
        let pad_id = Uuid::from_bytes(pad_id).and_then(PadId::new).map_err(rule)?;
        let name = KeyName { custodian, key_id, pad_id };
        let conditions = Conditions::parse(&entry.conditions.0).map_err(rule)?;
        if !entry.parents.is_empty() {
            self.check_numbers(&entry.parents)?;
        }
        let of = (conditions.engines.clone(), &entry.parents[..]);
        let facts = Facts::of_who(&entry.who);
        if check_new(self, &name, of, &facts, time_secs).map_err(rule)? != conditions {
            return Err(rule(format!("other conditions of the key {}", entry.key)));
        }
        let room = self.enrolled(&custodian).and_then(|enrolled| self.check_room(enrolled));
        room.map_err(rule)?;
        if self.key(&name).is_some() || entry.key != self.next_number() {
            return Err(rule(format!("the key {} once more", entry.key)));
        }
        self.add(PadKey {
            name,
            digest: entry.digest,
            version: 0,
            conditions,
            releases: 0,
            policies: 0,
            sealed: sealed(&entry.sealed)?,
            standing: Standing::Granted,
            made_of: entry.parents.clone(),
        });
        Ok(())
    }

    fn replaced(&mut self, entry: &PadKeyReplaced, time_secs: u64) -> Result<(), Fault> {
        let wrong = || rule(format!("the key {} in place of {}", entry.key, entry.old));
        let key_id = KeyId::new(&entry.key_id.0).map_err(rule)?;
        let old = self.numbered(entry.old).ok_or_else(wrong)?;
        let (name, conditions) = (KeyName { key_id, ..old.name.clone() }, old.conditions.clone());
        let (of, facts) = ((&name, &entry.update.0[..]), Facts::of_who(&entry.who));
        let policies = check_replacement(self, entry.old, of, &facts, time_secs).map_err(rule)?;
        if entry.key != self.next_number() {
            return Err(wrong());
        }
        let sealed = sealed(&entry.sealed)?;
        let old = self.numbered_mut(entry.old).ok_or_else(wrong)?;
        let made_of = old.made_of.clone();
        old.end(Standing::Replaced(policies));
        self.add(PadKey {
            name,
            digest: entry.digest,
            version: 0,
            conditions,
            releases: 0,
            policies,
            sealed,
            standing: Standing::Granted,
            made_of,
        });
        Ok(())
    }

    /// Ends the release of all that was made of a Pad, whichever of its keys it had then, and of
    /// what was made of that.
    fn end_what_was_made_of(&mut self, revoked: &KeyName) {
        let mut ended = BTreeSet::new();
        for (number, key) in (0..).zip(&mut self.keys) {
            let name = &key.name;
            if (name.custodian, name.pad_id) == (revoked.custodian, revoked.pad_id) {
                ended.insert(number);
            } else if key.made_of.iter().any(|parent| ended.contains(parent)) {
                key.end(Standing::Revoked);
                ended.insert(number);
            }
        }
    }

    fn head_given(&self, entry: &AuditHeadGiven) -> Result<(), Fault> {
        check_records(&entry.records).map_err(rule)?;
        let known = entry.records.iter().all(|record| self.numbered(record.key).is_some());
        if !known || entry.run.0.len() != 16 {
            return Err(rule("a record of a Pad that is none, or a run's id of another length"));
        }
        first(head_reasons(self, &entry.records, &Facts::of_who(&entry.who))).map_err(rule)
    }

    /// Refuses numbers of keys that are none, or there twice.
    fn check_numbers(&self, numbers: &[u64]) -> Result<(), Fault> {
        let known = numbers.iter().all(|number| self.numbered(*number).is_some());
        let count = (1..=MAX_PADS_A_CALL).contains(&numbers.len());
        if known && count && are_unique(numbers) {
            return Ok(());
        }
        Err(rule("keys that are none, or there twice"))
    }

    fn check_once(
        &self,
        request_id: protocol::digest::RequestId,
        kind: &Kind,
    ) -> Result<(), Fault> {
        match self.is_repeated(request_id, kind).map_err(|refused| rule(Refused::from(refused)))? {
            true => Err(rule("a second entry for one call")),
            false => Ok(()),
        }
    }
}

fn sealed(bytes: &HexBytes) -> Result<Vec<u8>, Fault> {
    match bytes.0.len() {
        1..=MAX_SEALED_BYTES => Ok(bytes.0.clone()),
        found => Err(rule(format!("a sealed key of {found} bytes"))),
    }
}
