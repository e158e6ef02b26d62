//! One run: joins the pipelines with the engines and the program's process.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use pad_format::contents::{Origin, Value};
use pad_format::{CustodianId, Policy};
use pad_pipeline::delegator::QuotaUse;
use pad_pipeline::engines::{
    Answer, EngineFailed, Engines, OutputView, PadView, Part, RuleRefusal, RunView, UpdateView,
};
use pad_pipeline::session::{Outcome, Session};
use pad_run::{Contents, Judge, Pad, Proposal};
use protocol::digest::Sha256Digest;
use zeroize::Zeroizing;

use super::files::Positioned;
use crate::big_endian;
use crate::consumer::middleware::Middleware;
use crate::engines::{self, EngineError, PolicyEngine};

/// A session as the middleware of a program's process.
pub(super) struct Run<'a> {
    session: Session<'a, Positioned>,
}

impl<'a> Run<'a> {
    pub(super) fn new(session: Session<'a, Positioned>) -> Self {
        Self { session }
    }

    pub(super) fn finish(self) -> Outcome {
        self.session.finish()
    }
}

impl Judge for Run<'_> {
    fn dataset(&mut self, pads: &[Pad]) -> pad_run::Answer {
        self.session.dataset(pads)
    }

    fn output(
        &mut self,
        pads: &[Pad],
        proposal: Proposal,
        data: Zeroizing<Vec<u8>>,
    ) -> pad_run::Answer {
        self.session.output(pads, proposal, data)
    }
}

impl Middleware for Run<'_> {
    fn size(&mut self, pad: Pad) -> io::Result<u64> {
        Ok(self.session.data(pad).map_err(io::Error::other)?.data_bytes())
    }

    fn data(&mut self, pad: Pad, to: &mut [u8]) -> io::Result<()> {
        let reader = self.session.data(pad).map_err(io::Error::other)?;
        match reader.read_at(0, to).map_err(io::Error::other)? == to.len() {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn contents(&self, pad: Pad) -> Contents {
        self.session.contents(pad)
    }
}

/// The engines that are ready, by their SHA-256.
pub struct Loaded<'a> {
    ready: &'a BTreeMap<Sha256Digest, PolicyEngine>,
}

impl<'a> Loaded<'a> {
    /// These engines.
    pub fn new(ready: &'a BTreeMap<Sha256Digest, PolicyEngine>) -> Self {
        Self { ready }
    }

    fn engine(&self, digest: &Sha256Digest) -> Result<&PolicyEngine, EngineFailed> {
        self.ready.get(digest).ok_or_else(|| EngineFailed("it was not submitted".to_owned()))
    }
}

impl Engines for Loaded<'_> {
    fn check_input(
        &mut self,
        engine: &Sha256Digest,
        run: &RunView,
        pads: &[PadView],
        asked: &[u32],
    ) -> Result<Vec<Answer>, EngineFailed> {
        let shown: Vec<_> = pads.iter().map(shown_pad).collect();
        let answers = self.engine(engine)?.check_input(&shown_run(engine, run), &shown, asked);
        answered(answers)
    }

    fn check_output(
        &mut self,
        engine: &Sha256Digest,
        run: &RunView,
        pads: &[PadView],
        asked: &[u32],
        output: &OutputView,
    ) -> Result<Vec<Answer>, EngineFailed> {
        let shown: Vec<_> = pads.iter().map(shown_pad).collect();
        let run = shown_run(engine, run);
        let data = Arc::clone(&output.data);
        answered(self.engine(engine)?.check_output(
            &run,
            &shown,
            asked,
            &shown_output(output),
            data,
        ))
    }

    fn check_update(
        &mut self,
        engine: &Sha256Digest,
        update: &UpdateView,
    ) -> Result<Answer, EngineFailed> {
        let shown = engines::Update {
            engine: big_endian::of_digest(&engine.0),
            pad: shown_pad(&update.pad),
            policies: update.policies.iter().map(shown_policy).collect(),
            owners: update.owners.iter().map(|owner| big_endian::of_digest(&owner.0.0)).collect(),
        };
        self.engine(engine)?.check_update(&shown).map(answer).map_err(failed)
    }
}

fn failed(error: EngineError) -> EngineFailed {
    EngineFailed(error.to_string())
}

fn answered(
    answers: Result<Vec<engines::Answer>, EngineError>,
) -> Result<Vec<Answer>, EngineFailed> {
    Ok(answers.map_err(failed)?.into_iter().map(answer).collect())
}

fn answer(answer: engines::Answer) -> Answer {
    match answer {
        engines::Answer::Allowed(uses) => Answer::Allowed(uses.into_iter().map(used).collect()),
        engines::Answer::Refused(refusal) => Answer::Refused(RuleRefusal {
            code: refusal.code,
            rule: refusal.rule.map(|rule| (part(rule.part), rule.index)),
        }),
    }
}

fn used(used: engines::QuotaUse) -> QuotaUse {
    QuotaUse {
        account: big_endian::uuid(used.account),
        owner: CustodianId(Sha256Digest(big_endian::digest(used.owner))),
        uses: used.uses,
        period_secs: used.period_secs,
    }
}

fn part(part: engines::Part) -> Part {
    match part {
        engines::Part::Input => Part::Input,
        engines::Part::Program => Part::Program,
        engines::Part::Output => Part::Output,
    }
}

fn shown_run(engine: &Sha256Digest, run: &RunView) -> engines::Run {
    engines::Run {
        engine: big_endian::of_digest(&engine.0),
        program: big_endian::of_digest(&run.program.0),
        owner: run.owner.map(|owner| big_endian::of_digest(&owner.0.0)),
        plain: run.plain.map(|plain| engines::PlainInput {
            digest: big_endian::of_digest(&plain.digest.0),
            size: plain.bytes,
        }),
        helpers: run.helpers.iter().map(|helper| (*helper).to_owned()).collect(),
    }
}

fn shown_pad(pad: &PadView) -> engines::Pad {
    let statements = pad.contents.attributes.iter().map(|attribute| engines::Statement {
        attribute: shown_attribute(attribute),
        origin: match &attribute.origin {
            Origin::Custodian(_) => engines::Origin::Custodian,
            Origin::Program(program) => engines::Origin::Program(big_endian::of_digest(&program.0)),
        },
    });
    engines::Pad {
        id: big_endian::of_uuid(pad.id.uuid().as_bytes()),
        digest: big_endian::of_digest(&pad.digest.0.0),
        custodian: big_endian::of_digest(&pad.custodian.0.0),
        policies: pad.contents.policies.iter().map(shown_policy).collect(),
        attributes: statements.collect(),
    }
}

fn shown_output(output: &OutputView) -> engines::Output {
    engines::Output {
        custodian: output.custodian.map(|custodian| big_endian::of_digest(&custodian.0.0)),
        policies: output.policies.iter().map(shown_policy).collect(),
        attributes: output.attributes.iter().map(shown_attribute).collect(),
        size: output.data.len() as u64,
    }
}

fn shown_policy(policy: &Policy) -> engines::Policy {
    engines::Policy {
        engine: big_endian::of_digest(&policy.engine.0),
        policy_type: big_endian::of_uuid(policy.policy_type.as_bytes()),
        input_id: policy.input_id.as_str().to_owned(),
        input_constraint: policy.input_constraint.clone(),
        program_constraint: policy.program_constraint.clone(),
        output_constraint: policy.output_constraint.clone(),
    }
}

fn shown_attribute(attribute: &pad_format::Attribute) -> engines::Attribute {
    let value = match &attribute.value {
        Value::Integer(number) => engines::Value::Number(*number),
        Value::Text(text) => engines::Value::Text(text.clone()),
        Value::Bytes(bytes) => engines::Value::Bytes(bytes.clone()),
    };
    engines::Attribute { name: attribute.name.as_str().to_owned(), value }
}
