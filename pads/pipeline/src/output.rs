//! The way out: what a program proposes, what every engine of every input allowed, and what leaves.
//!
//! Nothing leaves before, in this order: every engine said yes, the run's uses of quotas were
//! counted, the delegators have the head of the audit record, and the custodian's delegator has the
//! new key. What fails on the way is dropped; a use that was counted is not given back.

use std::io::{Read, Seek};
use std::sync::Arc;

use pad_format::cipher::Algorithm;
use pad_format::contents::{Name, Origin, Value};
use pad_format::metadata::{
    ChunkSize, CryptoInfo, Delegator as NamedDelegator, KeyId, SALT_BYTES, Salt,
};
use pad_format::sealed::{self, Purpose};
use pad_format::{
    Attribute, Contents, CustodianId, DataKey, Metadata, Packing, PadDigest, PadId, PadWriter,
    Policy, Uuid,
};
use pad_run::Proposal;
use protocol::derivation::length_prefixed;
use protocol::digest::Sha256Digest;
use protocol::rule::unless;
use zeroize::Zeroizing;

use crate::audit::Decision;
use crate::dataset::{OpenDataset, Uses, ask};
use crate::delegator::{Delegator, Denied, NewKey, Party};
use crate::engines::{Engines, OutputView};
use crate::refusal::{Reason, Refusal};

/// An output that a program proposes: it has the form of one, and no engine has seen it.
pub struct Proposed<'a, R> {
    dataset: &'a mut OpenDataset<R>,
    view: OutputView,
    target: Target,
}

/// An output that every engine of every Pad of the dataset allowed.
pub struct Allowed<'a, R> {
    dataset: &'a mut OpenDataset<R>,
    view: OutputView,
    target: Target,
}

/// An output that leaves. Holding one proves: every engine of every Pad of the run allowed it, the
/// run's uses were counted, the head of the audit record was given away, and the key was kept.
pub struct Packed(Output);

/// What leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A new Pad.
    Pad {
        /// Its id.
        id: PadId,
        /// Its digest.
        digest: PadDigest,
        /// The sealed Pad.
        bytes: Vec<u8>,
    },
    /// A result in plain, sealed for the program's owner.
    Plain(Vec<u8>),
}

/// Who an output is for.
enum Target {
    Pad(Contents, Party),
    Plain(CustodianId, Party),
}

/// A finished output that has not left.
struct Made {
    output: Output,
    decision: Decision,
    /// What the delegator has to keep first.
    key: Option<(DataKey, KeyId, Party)>,
}

impl Packed {
    /// What leaves.
    pub fn into_output(self) -> Output {
        self.0
    }
}

impl<R: Read + Seek> OpenDataset<R> {
    /// Takes what a program proposes. Its attributes are the program's statements, whatever the
    /// program says.
    ///
    /// # Errors
    /// If no Pad can be that, or it is for a custodian who did not enrol or an owner who is not
    /// proved.
    pub fn propose(
        &mut self,
        proposal: Proposal,
        data: Zeroizing<Vec<u8>>,
    ) -> Result<Proposed<'_, R>, Refusal> {
        match self.proposed(proposal, data) {
            Ok((view, target)) => Ok(Proposed { dataset: self, view, target }),
            Err(reason) => {
                let refusal = Refusal::run(reason);
                self.refuse(vec![refusal.clone()]);
                Err(refusal)
            }
        }
    }

    fn proposed(
        &self,
        proposal: Proposal,
        data: Zeroizing<Vec<u8>>,
    ) -> Result<(OutputView, Target), Reason> {
        let Proposal { custodian, contents, .. } = proposal;
        let custodian = custodian.map(|custodian| CustodianId(Sha256Digest(custodian)));
        let program = self.facts.run.program;
        let policies = contents.policies.into_iter().map(policy).collect::<Result<Vec<_>, _>>()?;
        let attributes = contents.attributes.into_iter().map(|stated| attribute(stated, program));
        let attributes = attributes.collect::<Result<Vec<_>, _>>()?;
        let target = match custodian {
            Some(custodian) => self.pad_for(&custodian, policies.clone(), attributes.clone())?,
            None => {
                let is_bare = policies.is_empty() && attributes.is_empty();
                unless(is_bare, || Reason::PlainContents)?;
                let owner = self.facts.run.owner.ok_or(Reason::PlainForNobody)?;
                Target::Plain(owner, self.facts.party(&owner)?.clone())
            }
        };
        Ok((OutputView { custodian, policies, attributes, data: Arc::new(data) }, target))
    }

    /// Contents that a reader will accept, for a custodian whose whole id is enrolled.
    fn pad_for(
        &self,
        custodian: &CustodianId,
        policies: Vec<Policy>,
        attributes: Vec<Attribute>,
    ) -> Result<Target, Reason> {
        let party = self.facts.party(custodian)?.clone();
        for policy in &policies {
            // No key of the new Pad would ever be released to another one.
            let is_stated = self.facts.is_stated(&policy.engine);
            unless(is_stated, || Reason::NotStated(policy.engine))?;
        }
        let contents = Contents {
            policy_version: 1,
            custodian: party.custodian.clone(),
            policies,
            attributes,
        };
        let checked = contents.to_bytes(&any_metadata(*custodian, &party)?);
        checked.map_err(|error| Reason::Output(error.to_string()))?;
        Ok(Target::Pad(contents, party))
    }

    pub(crate) fn refuse(&mut self, refusals: Vec<Refusal>) {
        self.facts.journal.decided(Decision::OutputRefused(refusals));
    }
}

impl<'a, R: Read + Seek> Proposed<'a, R> {
    /// Asks every engine of every Pad of the dataset.
    ///
    /// # Errors
    /// Every refusal of every Pad.
    pub fn check(self, engines: &mut dyn Engines) -> Result<Allowed<'a, R>, Vec<Refusal>> {
        let Self { dataset, view, target } = self;
        match ask(&dataset.facts, &dataset.views, engines, Some(&view)) {
            Ok(_) => Ok(Allowed { dataset, view, target }),
            Err(refusals) => {
                dataset.refuse(refusals.clone());
                Err(refusals)
            }
        }
    }
}

impl<R: Read + Seek> Allowed<'_, R> {
    /// Counts the run's uses, seals the output, gives the record's head and the new key away, and
    /// only then lets the output go.
    ///
    /// # Errors
    /// If a use is not left, or a delegator does not do its part.
    pub fn pack(self, delegator: &mut dyn Delegator) -> Result<Packed, Refusal> {
        let Self { dataset, view, target } = self;
        let packed = spend(dataset, delegator).and_then(|()| {
            let Made { output, decision, key } = made(dataset, &view, target)?;
            dataset.facts.journal.decided(decision);
            dataset.facts.flush(delegator).map_err(Reason::Delegator)?;
            if let (Some((key, key_id, party)), Output::Pad { id, .. }) = (&key, &output) {
                keep(dataset, *id, key, key_id, party, delegator)?;
            }
            Ok(Packed(output))
        });
        packed.map_err(|reason| {
            let refusal = Refusal::run(reason);
            dataset.refuse(vec![refusal.clone()]);
            refusal
        })
    }
}

/// A run is one use of each account, however many outputs it has.
fn spend<R>(dataset: &mut OpenDataset<R>, delegator: &mut dyn Delegator) -> Result<(), Reason> {
    let due = match std::mem::replace(&mut dataset.uses, Uses::Refused) {
        Uses::Due(due) => due.into_iter().collect::<Vec<_>>(),
        Uses::Counted => Vec::new(),
        Uses::Refused => return Err(Reason::SpentBefore),
    };
    let spent = if due.is_empty() { Ok(()) } else { delegator.spend(dataset.facts.id, &due) };
    spent.map_err(|denied| match denied {
        Denied::Use { index } => match due.get(index) {
            Some(spend) => Reason::Spent(spend.quota),
            None => Reason::Delegator(denied),
        },
        denied => Reason::Delegator(denied),
    })?;
    dataset.uses = Uses::Counted;
    Ok(())
}

fn made<R>(dataset: &OpenDataset<R>, view: &OutputView, target: Target) -> Result<Made, Reason> {
    match target {
        Target::Pad(contents, party) => made_pad(&contents, party, &view.data),
        Target::Plain(owner, party) => {
            let about = result_subject(&dataset.facts.id.0, &owner);
            let sealed = sealed::seal(&party.result_key, Purpose::Result, &about, &view.data);
            let bytes = sealed.map_err(|error| Reason::Pack(error.to_string()))?;
            let decision = Decision::PlainAllowed { sealed: Sha256Digest::of(&bytes) };
            Ok(Made { output: Output::Plain(bytes), decision, key: None })
        }
    }
}

/// What a result in plain is sealed about: the run and its owner.
pub fn result_subject(run: &[u8], owner: &CustodianId) -> Vec<u8> {
    length_prefixed(&[run, owner.0.as_bytes()])
}

fn made_pad(contents: &Contents, party: Party, data: &[u8]) -> Result<Made, Reason> {
    let failed = |error: &dyn std::error::Error| Reason::Pack(error.to_string());
    let id = PadId::generate().map_err(|error| failed(&error))?;
    let key = DataKey::generate().map_err(|error| failed(&error))?;
    let key_id = key_id(id)?;
    let packing = Packing {
        pad_id: id,
        delegator: NamedDelegator {
            key_provider_id: party.key_provider_id,
            uri: party.uri.clone(),
        },
        algorithm: Algorithm::Aes256Gcm,
        key_id: key_id.clone(),
        chunk: ChunkSize::default(),
        contents,
    };
    let mut writer = PadWriter::new(Vec::new(), &packing, &key).map_err(|error| failed(&error))?;
    writer.write(data).map_err(|error| failed(&error))?;
    let (bytes, digest) = writer.finish().map_err(|error| failed(&error))?;
    let decision = Decision::PadAllowed { id, digest, custodian: contents.custodian.id() };
    let output = Output::Pad { id, digest, bytes };
    Ok(Made { output, decision, key: Some((key, key_id, party)) })
}

fn key_id(id: PadId) -> Result<KeyId, Reason> {
    KeyId::new(id.uuid().as_bytes()).map_err(|error| Reason::Pack(error.to_string()))
}

fn keep<R: Read + Seek>(
    dataset: &OpenDataset<R>,
    pad_id: PadId,
    key: &DataKey,
    key_id: &KeyId,
    party: &Party,
    delegator: &mut dyn Delegator,
) -> Result<(), Reason> {
    let new = NewKey {
        run: dataset.facts.id,
        pad_id,
        key_id: key_id.clone(),
        key,
        custodian: party.custodian.id(),
        key_provider_id: party.key_provider_id,
        engines: dataset.facts.engines.clone(),
        parents: dataset.parents(),
    };
    delegator.keep(&new).map_err(Reason::Delegator)
}

/// Metadata to check contents against: their rules are the reader's, and ask for the custodian.
fn any_metadata(custodian: CustodianId, party: &Party) -> Result<Metadata, Reason> {
    let pad_id = PadId::generate().map_err(|error| Reason::Pack(error.to_string()))?;
    Ok(Metadata {
        pad_id,
        custodian,
        delegator: NamedDelegator {
            key_provider_id: party.key_provider_id,
            uri: party.uri.clone(),
        },
        crypto: CryptoInfo {
            algorithm: Algorithm::Aes256Gcm,
            key_id: key_id(pad_id)?,
            salt: Salt([0; SALT_BYTES]),
            chunk: ChunkSize::default(),
        },
    })
}

/// A policy as a program or submitter states it, if it is one that a Pad can have.
///
/// # Errors
/// If its type is no UUID or its name none.
pub fn policy(policy: pad_run::Policy) -> Result<Policy, Reason> {
    let refused = |error: &dyn std::error::Error| Reason::Output(error.to_string());
    Ok(Policy {
        policy_type: Uuid::from_bytes(policy.policy_type).map_err(|error| refused(&error))?,
        engine: Sha256Digest(policy.engine),
        input_id: Name::new(&policy.input_id).map_err(|error| refused(&error))?,
        input_constraint: policy.input_constraint,
        program_constraint: policy.program_constraint,
        output_constraint: policy.output_constraint,
    })
}

/// The same the other way.
pub fn stated(policy: &Policy) -> pad_run::Policy {
    pad_run::Policy {
        engine: policy.engine.0,
        policy_type: *policy.policy_type.as_bytes(),
        input_id: policy.input_id.as_str().to_owned(),
        input_constraint: policy.input_constraint.clone(),
        program_constraint: policy.program_constraint.clone(),
        output_constraint: policy.output_constraint.clone(),
    }
}

fn attribute(stated: pad_run::Attribute, program: Sha256Digest) -> Result<Attribute, Reason> {
    let name = Name::new(&stated.name).map_err(|error| Reason::Output(error.to_string()))?;
    let value = match stated.value {
        pad_run::Value::Number(number) => Value::Integer(number),
        pad_run::Value::Text(text) => Value::Text(text),
        pad_run::Value::Bytes(bytes) => Value::Bytes(bytes),
    };
    Ok(Attribute { name, value, origin: Origin::Program(program) })
}
