//! Custodians, Pads, delegators and engines of tests. The engine `share` is the rules themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;

use ed25519_dalek::{Signer as _, SigningKey};
use pad_format::cipher::Algorithm;
use pad_format::contents::{Name, Origin, Value};
use pad_format::custodian::Signatures;
use pad_format::enrolment::{Enrolment, SignedEnrolment};
use pad_format::metadata::{ChunkSize, Delegator as NamedDelegator, KeyId, Uri};
use pad_format::reader::SealedPad;
use pad_format::run::{Run, RunId, SignedRun};
use pad_format::sealed::ResultSecret;
use pad_format::{
    Attribute, Contents, Custodian, CustodianId, DataKey, Packing, PadDigest, PadId, PadWriter,
    Policy,
};
use pad_rules::{
    BASIS_POINTS, Code, Constraints, InputRule, OutputRule, OwnerId, ProgramDigest, ProgramRule,
    SharePolicy, Spent,
};
use pad_run::Proposal;
use protocol::digest::{Ed25519Key, Sha256Digest};
use zeroize::Zeroizing;

use crate::delegator::{
    AuditEntry, Delegator, Denied, KeyRequest, NewKey, QuotaUse, ReleasedKey, Spend, UpdatedKey,
};
use crate::engines::{
    Answer, EngineFailed, Engines, OutputView, PadView, Part, PlainInput, RuleRefusal, RunView,
    UpdateView,
};
use crate::figure;
use crate::output::stated;
use crate::submission::{Runs, Submission};

pub const NOW: u64 = 1_800_000_000;
pub const EXPORTER: [u8; 32] = [4; 32];
/// The engine whose answers are those of `pad-rules`.
pub const SHARE: Sha256Digest = Sha256Digest([0x5a; 32]);
/// An engine of somebody, whose answers a test states.
pub const OTHER: Sha256Digest = Sha256Digest([0x07; 32]);
pub const TRAINER: Sha256Digest = Sha256Digest([0x71; 32]);
/// The delegator that everybody enrolled with.
pub const DELEGATOR: Sha256Digest = Sha256Digest([0xde; 32]);
/// The custodians, by the numbers of their keys.
pub const A: &[u8] = &[1];
pub const B: &[u8] = &[2];
pub const C: &[u8] = &[3];
/// Two of A, B and C.
pub const D: &[u8] = &[1, 2, 3];
pub const E: &[u8] = &[5];

pub type Sealed = SealedPad<Cursor<Vec<u8>>>;

fn signing_key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn key(number: u8) -> Ed25519Key {
    Ed25519Key(signing_key(number).verifying_key().to_bytes())
}

pub fn custodian(members: &[u8]) -> Custodian {
    let keys: Vec<_> = members.iter().map(|number| key(*number)).collect();
    Custodian::joint(keys, (members.len() as u8).div_ceil(2)).unwrap()
}

pub fn id(members: &[u8]) -> CustodianId {
    custodian(members).id()
}

pub fn owner_id(members: &[u8]) -> OwnerId {
    OwnerId(id(members).0.0)
}

pub fn secret(members: &[u8]) -> ResultSecret {
    ResultSecret::from_bytes(Zeroizing::new([members.len() as u8 * 16 + members[0]; 32]))
}

pub fn sign(members: &[u8], message: &[u8]) -> Signatures {
    let mut signatures = Signatures::default();
    for number in members {
        signatures.add(key(*number), signing_key(*number).sign(message).to_bytes());
    }
    signatures
}

pub fn enrolment(members: &[u8], key_provider_id: Sha256Digest) -> SignedEnrolment {
    let enrolment = Enrolment {
        custodian: custodian(members),
        key_provider_id,
        version: 1,
        result_key: secret(members).public(),
    };
    let signatures = sign(members, &enrolment.signed_bytes());
    enrolment.signed(signatures)
}

pub fn uri() -> Uri {
    Uri::new("https://delegator.example").unwrap()
}

/// Everybody's enrolment.
pub fn parties() -> Vec<(SignedEnrolment, Uri)> {
    [A, B, C, D, E].map(|members| (enrolment(members, DELEGATOR), uri())).into()
}

/// A policy under an engine.
pub fn policy_of(engine: Sha256Digest, constraints: Constraints) -> Policy {
    Policy {
        policy_type: "2f0b1e8c-93a4-4a0e-8f0d-6c1d1f9b7a55".parse().unwrap(),
        engine,
        input_id: Name::new("records").unwrap(),
        input_constraint: constraints.input,
        program_constraint: constraints.program,
        output_constraint: constraints.output,
    }
}

pub fn policy(rules: &SharePolicy) -> Policy {
    policy_of(SHARE, rules.to_constraints())
}

pub fn listed(program: Sha256Digest) -> ProgramRule {
    ProgramRule::ProgramIn(vec![ProgramDigest(program.0)])
}

/// At most so many percent of the entries of A, B and C, for the trainer, to D.
pub fn training(percent: u64) -> SharePolicy {
    let mut among = vec![owner_id(A), owner_id(B), owner_id(C)];
    among.sort_unstable();
    let share = pad_rules::Share {
        basis_points: percent * BASIS_POINTS / 100,
        attribute: "entries".to_owned(),
        among,
    };
    SharePolicy {
        input: vec![InputRule::MaxShare(share)],
        program: vec![listed(TRAINER)],
        output: vec![OutputRule::Custodian(owner_id(D))],
    }
}

/// A Pad as it is made and stored.
#[derive(Clone)]
pub struct Stored {
    pub bytes: Vec<u8>,
    pub digest: PadDigest,
    pub key: [u8; 32],
    pub custodian: CustodianId,
}

impl Stored {
    pub fn sealed(&self) -> Sealed {
        SealedPad::read(Cursor::new(self.bytes.clone())).unwrap()
    }
}

/// A Pad of these policies with so many signed entries.
pub fn pad(owner: &[u8], policies: Vec<Policy>, entries: u64, data: &[u8]) -> Stored {
    pad_at(owner, policies, entries, data, DELEGATOR)
}

/// The same, with another delegator in its metadata.
pub fn pad_at(
    owner: &[u8],
    policies: Vec<Policy>,
    entries: u64,
    data: &[u8],
    key_provider_id: Sha256Digest,
) -> Stored {
    let custodian = custodian(owner);
    let pad_id = PadId::generate().unwrap();
    let (name, value) = (Name::new("entries").unwrap(), Value::Integer(entries));
    let signatures = sign(owner, &value.signed_bytes(&name, &pad_id, &custodian.id()));
    let attribute = Attribute { name, value, origin: Origin::Custodian(signatures) };
    let contents = Contents {
        policy_version: 1,
        custodian: custodian.clone(),
        policies,
        attributes: vec![attribute],
    };
    packed(&contents, pad_id, data, key_provider_id)
}

pub fn packed(contents: &Contents, pad_id: PadId, data: &[u8], delegator: Sha256Digest) -> Stored {
    let key = DataKey::generate().unwrap();
    let packing = Packing {
        pad_id,
        delegator: NamedDelegator { key_provider_id: delegator, uri: uri() },
        algorithm: Algorithm::Aes256Gcm,
        key_id: KeyId::new(b"key").unwrap(),
        chunk: ChunkSize::of_log2(8).unwrap(),
        contents,
    };
    let mut writer = PadWriter::new(Vec::new(), &packing, &key).unwrap();
    writer.write(data).unwrap();
    let (bytes, digest) = writer.finish().unwrap();
    Stored { bytes, digest, key: *key.as_bytes(), custodian: contents.custodian.id() }
}

/// A run that is about to be submitted.
pub struct Prepared {
    pub submission: Submission<Cursor<Vec<u8>>>,
    pub runs: Runs,
}

/// A run of the trainer on these Pads, with `share` as its engine and no owner.
pub fn prepared(pads: &[&Stored]) -> Prepared {
    let mut runs = Runs::default();
    let submission = Submission {
        id: runs.draw(NOW).unwrap(),
        exporter: EXPORTER,
        now: NOW,
        program: TRAINER,
        engines: vec![SHARE],
        pads: pads.iter().map(|pad| pad.sealed()).collect(),
        helpers: &[],
        plain: None,
        signed: None,
        parties: parties(),
    };
    Prepared { submission, runs }
}

impl Prepared {
    /// The run as it is submitted, for its owner to sign.
    pub fn run(&self) -> Run {
        let submission = &self.submission;
        Run {
            id: submission.id,
            exporter: submission.exporter,
            program: submission.program,
            pads: submission.pads.iter().map(SealedPad::digest).collect(),
            plain_input: submission.plain.map(|plain: PlainInput| plain.digest),
        }
    }

    pub fn signed_by(mut self, owner: &[u8]) -> Self {
        self.submission.signed = Some(signed(&self.run(), owner));
        self
    }

    pub fn with_plain(mut self, plain: &[u8]) -> Self {
        let digest = Sha256Digest::of(plain);
        self.submission.plain = Some(PlainInput { digest, bytes: plain.len() as u64 });
        self
    }

    pub fn of(mut self, program: Sha256Digest) -> Self {
        self.submission.program = program;
        self
    }
}

pub fn signed(run: &Run, owner: &[u8]) -> SignedRun {
    let not_after = NOW + 60;
    let signatures = sign(owner, &run.signed_bytes(&id(owner), not_after));
    run.clone().signed(custodian(owner), not_after, signatures)
}

/// What a delegator was asked for, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Keys,
    Spend,
    Audit,
    Keep,
    Update,
}

/// A key that was kept for a new Pad.
pub struct Kept {
    pub pad_id: PadId,
    pub custodian: CustodianId,
    pub engines: Vec<Sha256Digest>,
    pub parents: Vec<PadDigest>,
    pub key: [u8; 32],
}

/// The delegators of everybody.
#[derive(Default)]
pub struct Delegation {
    keys: BTreeMap<PadDigest, (Stored, Sha256Digest, BTreeSet<Sha256Digest>)>,
    spent: BTreeMap<(Sha256Digest, CustodianId, [u8; 16], CustodianId), Spent>,
    pub steps: Vec<Step>,
    /// The step that fails.
    pub broken: Option<Step>,
    /// Keys that are held back from an answer.
    pub missing_keys: usize,
    pub kept: Vec<Kept>,
    pub entries: Vec<AuditEntry>,
    pub uses: Vec<Spend>,
    /// The new key of a Pad, and who gives it for which engines.
    pub updated: Option<(Stored, Sha256Digest, BTreeSet<Sha256Digest>)>,
}

impl Delegation {
    /// A delegator with these Pads' keys, for runs with no other engine than `share`.
    pub fn of(pads: &[&Stored]) -> Self {
        let mut delegation = Self::default();
        pads.iter().for_each(|pad| delegation.push(pad, DELEGATOR, &[SHARE]));
        delegation
    }

    pub fn push(&mut self, pad: &Stored, delegator: Sha256Digest, engines: &[Sha256Digest]) {
        let list = engines.iter().copied().collect();
        self.keys.insert(pad.digest, (pad.clone(), delegator, list));
    }

    fn step(&mut self, step: Step) -> Result<(), Denied> {
        self.steps.push(step);
        match self.broken == Some(step) {
            true => Err(Denied::Failed("unreachable".into())),
            false => Ok(()),
        }
    }
}

impl Delegator for Delegation {
    fn keys(&mut self, request: &KeyRequest) -> Result<Vec<ReleasedKey>, Denied> {
        self.step(Step::Keys)?;
        let mut keys = Vec::new();
        for (index, wanted) in request.pads.iter().enumerate() {
            let denied = |reason: &str| Denied::Pad { index, reason: reason.to_owned() };
            let (pad, from, list) =
                self.keys.get(&wanted.digest).ok_or_else(|| denied("unknown"))?;
            if !request.engines.iter().all(|engine| list.contains(engine)) {
                return Err(denied("an engine is not on the release list"));
            }
            let key = DataKey::from_bytes(Zeroizing::new(pad.key));
            keys.push(ReleasedKey { key, from: *from });
        }
        keys.truncate(keys.len() - self.missing_keys);
        Ok(keys)
    }

    fn spend(&mut self, _: RunId, uses: &[Spend]) -> Result<(), Denied> {
        self.step(Step::Spend)?;
        self.uses.extend(uses);
        for (index, spend) in uses.iter().enumerate() {
            let QuotaUse { account, owner, uses, period_secs } = spend.quota;
            let rule = pad_rules::Quota { owner: OwnerId(owner.0.0), uses, period_secs };
            let spent =
                self.spent.entry((spend.engine, spend.custodian, account, owner)).or_default();
            if !spent.spend(&[rule], NOW) {
                return Err(Denied::Use { index });
            }
        }
        Ok(())
    }

    fn keep(&mut self, new: &NewKey<'_>) -> Result<(), Denied> {
        self.step(Step::Keep)?;
        self.kept.push(Kept {
            pad_id: new.pad_id,
            custodian: new.custodian,
            engines: new.engines.clone(),
            parents: new.parents.clone(),
            key: *new.key.as_bytes(),
        });
        Ok(())
    }

    fn audit(&mut self, entry: &AuditEntry) -> Result<(), Denied> {
        self.step(Step::Audit)?;
        self.entries.push(entry.clone());
        Ok(())
    }

    fn update(&mut self, new: &UpdatedKey<'_>) -> Result<(), Denied> {
        self.step(Step::Update)?;
        let (pad, from, list) = self.keys.remove(&new.old.digest).unwrap();
        let key = *new.key.as_bytes();
        self.updated = Some((Stored { key, ..pad }, from, list));
        Ok(())
    }
}

/// Engines: `share` by its rules, and one that answers as it is told.
#[derive(Default)]
pub struct Told {
    /// The answer of [`OTHER`] about each Pad.
    pub input: Option<Answer>,
    pub output: Option<Answer>,
    /// Answers that are held back.
    pub missing: usize,
    /// Engines that give no answer.
    pub failing: BTreeSet<Sha256Digest>,
    /// Every engine that was asked about an output.
    pub outputs: Vec<Sha256Digest>,
    /// How often an engine was asked about a dataset.
    pub inputs: usize,
}

impl Told {
    fn answers(
        &self,
        engine: &Sha256Digest,
        told: &Option<Answer>,
        pads: &[PadView],
        asked: &[u32],
        of_share: impl Fn(&PadView, &SharePolicy) -> Answer,
    ) -> Result<Vec<Answer>, EngineFailed> {
        if self.failing.contains(engine) {
            return Err(EngineFailed("the engine trapped".into()));
        }
        let answer = |place: &u32| {
            let pad = &pads[*place as usize];
            if *engine != SHARE {
                return told.clone().unwrap_or(Answer::Allowed(Vec::new()));
            }
            let mut uses = Vec::new();
            for policy in shares(pad) {
                match of_share(pad, &policy) {
                    Answer::Allowed(more) => uses.extend(more),
                    refused @ Answer::Refused(_) => return refused,
                }
            }
            Answer::Allowed(uses)
        };
        let mut answers: Vec<_> = asked.iter().map(answer).collect();
        answers.truncate(answers.len() - self.missing);
        Ok(answers)
    }
}

/// The policies of a Pad under `share`.
pub fn shares(pad: &PadView) -> Vec<SharePolicy> {
    let policies = pad.contents.policies.iter().filter(|policy| policy.engine == SHARE);
    policies.map(|policy| SharePolicy::parse(&constraints(policy)).unwrap()).collect()
}

pub fn constraints(policy: &Policy) -> Constraints {
    Constraints {
        input: policy.input_constraint.clone(),
        program: policy.program_constraint.clone(),
        output: policy.output_constraint.clone(),
    }
}

impl Engines for Told {
    fn check_input(
        &mut self,
        engine: &Sha256Digest,
        run: &RunView,
        pads: &[PadView],
        asked: &[u32],
    ) -> Result<Vec<Answer>, EngineFailed> {
        self.inputs += 1;
        let set = figure::data_set(run, pads);
        self.answers(engine, &self.input, pads, asked, |pad, policy| {
            match pad_rules::check_input(policy, pad.id.uuid().as_bytes(), &set) {
                Ok(uses) => Answer::Allowed(uses.iter().map(used).collect()),
                Err(refusal) => Answer::Refused(refused(&refusal)),
            }
        })
    }

    fn check_output(
        &mut self,
        engine: &Sha256Digest,
        run: &RunView,
        pads: &[PadView],
        asked: &[u32],
        output: &OutputView,
    ) -> Result<Vec<Answer>, EngineFailed> {
        self.outputs.push(*engine);
        let set = figure::data_set(run, pads);
        let proposal = output.custodian.map(|custodian| pad_rules::Proposal {
            custodian: OwnerId(custodian.0.0),
            policies: output
                .policies
                .iter()
                .filter(|policy| policy.engine == SHARE)
                .map(constraints)
                .collect(),
        });
        self.answers(engine, &self.output, pads, asked, |_, policy| {
            let output = match &proposal {
                Some(proposal) => pad_rules::Output::Pad(proposal),
                None => pad_rules::Output::Plain(&output.data),
            };
            match pad_rules::check_output(policy, &set, output) {
                Ok(()) => Answer::Allowed(Vec::new()),
                Err(refusal) => Answer::Refused(refused(&refusal)),
            }
        })
    }

    fn check_update(
        &mut self,
        engine: &Sha256Digest,
        update: &UpdateView,
    ) -> Result<Answer, EngineFailed> {
        match (self.failing.contains(engine), *engine == SHARE) {
            (true, _) => Err(EngineFailed("the engine trapped".into())),
            (false, true) => Ok(Self::update_of_share(update)),
            (false, false) => Ok(self.input.clone().unwrap_or(Answer::Allowed(Vec::new()))),
        }
    }
}

impl Told {
    fn update_of_share(update: &UpdateView) -> Answer {
        let owners: Vec<_> = update.owners.iter().map(|owner| OwnerId(owner.0.0)).collect();
        let refusals = shares(&update.pad)
            .into_iter()
            .filter_map(|policy| pad_rules::check_update(&policy, &owners).err());
        match refusals.reduce(|first, _| first) {
            Some(refusal) => Answer::Refused(refused(&refusal)),
            None => Answer::Allowed(Vec::new()),
        }
    }
}

fn used(used: &pad_rules::QuotaUse) -> QuotaUse {
    QuotaUse {
        account: used.id.0,
        owner: CustodianId(Sha256Digest(used.quota.owner.0)),
        uses: used.quota.uses,
        period_secs: used.quota.period_secs,
    }
}

fn refused(refusal: &pad_rules::Refusal) -> RuleRefusal {
    let part = match refusal.code {
        Code::Program | Code::Owner | Code::Quota => Part::Program,
        Code::MaxShare | Code::MinShare | Code::Unsigned | Code::PlainInput => Part::Input,
        _ => Part::Output,
    };
    RuleRefusal { code: refusal.code as u16, rule: refusal.rule.map(|index| (part, index)) }
}

/// A new Pad for a custodian.
pub fn proposal(custodian: &[u8], policies: &[Policy]) -> Proposal {
    let policies = policies.iter().map(stated);
    Proposal {
        custodian: Some(id(custodian).0.0),
        contents: pad_run::Contents { policies: policies.collect(), attributes: Vec::new() },
        size_bytes: 0,
    }
}

pub fn plain() -> Proposal {
    Proposal { custodian: None, contents: pad_run::Contents::default(), size_bytes: 0 }
}

pub fn data(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(bytes.to_vec())
}
