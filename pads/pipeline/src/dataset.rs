//! The way to data: a dataset that waits for Pads, one that every engine agreed to, and one that is
//! open.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek};

use pad_format::reader::{DataReader, OpenedPad, PadError, SealedPad};
use pad_format::{DataKey, PadDigest};
use protocol::digest::Sha256Digest;
use protocol::rule::unless;

use crate::audit::Decision;
use crate::delegator::{Delegator, KeyRequest, QuotaUse, ReleasedKey, Spend, WantedPad};
use crate::engines::{Answer, Engines, OutputView, PadView, RuleRefusal};
use crate::figure;
use crate::refusal::{Broken, NamedPad, Reason, Refusal};
use crate::submission::{Accepted, Facts};

/// Uses of quotas that an answer states for one Pad: as many as a part of a policy of `share` has
/// rules, for each policy of a Pad.
const MAX_USES: usize = 32 * 16;

/// A dataset that waits for Pads. Nothing was decided about it.
pub struct Dataset<R> {
    facts: Facts,
    submitted: Vec<Option<SealedPad<R>>>,
    added: Vec<(usize, SealedPad<R>)>,
}

/// A dataset that every engine of every Pad agreed to, for this run. Holding one proves: each Pad's
/// key came from the delegator that its custodian enrolled with, each engine that a policy names
/// is one that was stated when the keys were asked for, and each of them allowed each Pad.
pub struct CheckedDataset<R> {
    facts: Facts,
    pads: Vec<OpenedPad<R>>,
    views: Vec<PadView>,
    spends: BTreeSet<Spend>,
}

/// A dataset whose data may be read, and from which outputs may be proposed.
pub struct OpenDataset<R> {
    pub(crate) facts: Facts,
    pub(crate) views: Vec<PadView>,
    pub(crate) uses: Uses,
    readers: Vec<DataReader<R>>,
}

/// What the run owes for its first output.
pub(crate) enum Uses {
    /// These are to be counted before anything leaves.
    Due(BTreeSet<Spend>),
    /// They were counted.
    Counted,
    /// One was refused, and nothing leaves.
    Refused,
}

impl<R: Read + Seek> Dataset<R> {
    /// A dataset of a run that may begin.
    pub fn new(run: Accepted<R>) -> Self {
        Self { facts: run.facts, submitted: run.pads, added: Vec::new() }
    }

    /// Adds a submitted Pad, once.
    ///
    /// # Errors
    /// If it was not submitted or was added before.
    pub fn add(&mut self, index: usize) -> Result<(), Refusal> {
        let pad = self.submitted.get_mut(index).and_then(Option::take);
        let pad = pad.ok_or(Refusal::run(Reason::Handle))?;
        self.added.push((index, pad));
        Ok(())
    }

    /// Asks for the keys of all Pads, opens their policies, and asks every engine. A refusal is
    /// recorded, and leaves no dataset.
    ///
    /// # Errors
    /// Every refusal of every Pad.
    pub fn check(
        self,
        engines: &mut dyn Engines,
        delegator: &mut dyn Delegator,
    ) -> Result<CheckedDataset<R>, Vec<Refusal>> {
        let Self { mut facts, submitted, added } = self;
        let named = added.iter().map(|(_, pad)| (pad.digest(), pad.claimed().custodian));
        facts.journal.begin(named.collect());
        match decide(&facts, submitted.len(), added, engines, delegator) {
            Ok((pads, views, spends)) => {
                facts.journal.decided(Decision::DatasetAllowed);
                Ok(CheckedDataset { facts, pads, views, spends })
            }
            Err(mut refusals) => {
                facts.journal.decided(Decision::DatasetRefused(refusals.clone()));
                if let Err(denied) = facts.flush(delegator) {
                    refusals.push(Refusal::run(Reason::Delegator(denied)));
                }
                Err(refusals)
            }
        }
    }
}

type Decided<R> = (Vec<OpenedPad<R>>, Vec<PadView>, BTreeSet<Spend>);

fn decide<R: Read + Seek>(
    facts: &Facts,
    submitted: usize,
    added: Vec<(usize, SealedPad<R>)>,
    engines: &mut dyn Engines,
    delegator: &mut dyn Delegator,
) -> Result<Decided<R>, Vec<Refusal>> {
    if facts.run.owner.is_some() {
        let is_all = added.len() == submitted;
        let in_order = added.iter().enumerate().all(|(place, (index, _))| place == *index);
        let others = Reason::OtherPads { signed: submitted, added: added.len() };
        unless(is_all && in_order, || vec![Refusal::run(others)])?;
    }
    let sealed: Vec<_> = added.into_iter().map(|(_, pad)| pad).collect();
    every(claims(facts, &sealed))?;
    let keys = keys(facts, &sealed, delegator)?;
    let mut opened = Vec::new();
    let mut refusals = Vec::new();
    for (pad, released) in sealed.into_iter().zip(keys) {
        let named = named(&pad);
        match open(facts, pad, released) {
            Ok(pad) => opened.push(pad),
            Err(reason) => refusals.push(Refusal::pad(named, reason)),
        }
    }
    every(refusals)?;
    let views: Vec<_> = opened.iter().map(view).collect();
    let spends = ask(facts, &views, engines, None)?;
    Ok((opened, views, spends))
}

fn every(refusals: Vec<Refusal>) -> Result<(), Vec<Refusal>> {
    if refusals.is_empty() { Ok(()) } else { Err(refusals) }
}

/// What is wrong with the Pads before any key is asked for.
fn claims<R: Read + Seek>(facts: &Facts, pads: &[SealedPad<R>]) -> Vec<Refusal> {
    let mut ids = BTreeSet::new();
    let claimed = pads.iter().filter_map(|pad| {
        let is_new = ids.insert(pad.claimed().pad_id);
        let claimed = unless(is_new, || Reason::Twice).and_then(|()| delegator_of(facts, pad));
        claimed.err().map(|reason| Refusal::pad(named(pad), reason))
    });
    claimed.collect()
}

/// The delegator in the metadata is a hint of whoever carries the Pad.
pub(crate) fn delegator_of<R: Read + Seek>(
    facts: &Facts,
    pad: &SealedPad<R>,
) -> Result<(), Reason> {
    let expected = facts.party(&pad.claimed().custodian)?.key_provider_id;
    let found = pad.claimed().delegator.key_provider_id;
    unless(found == expected, || Reason::OtherDelegator { found, expected })
}

pub(crate) fn keys<R: Read + Seek>(
    facts: &Facts,
    pads: &[SealedPad<R>],
    delegator: &mut dyn Delegator,
) -> Result<Vec<ReleasedKey>, Vec<Refusal>> {
    let wanted =
        |pad: &SealedPad<R>| WantedPad { digest: pad.digest(), metadata: pad.claimed().clone() };
    let request = KeyRequest {
        run: facts.id,
        program: facts.run.program,
        owner: facts.run.owner,
        engines: facts.engines.clone(),
        pads: pads.iter().map(wanted).collect(),
    };
    let keys = delegator.keys(&request);
    let keys = keys.map_err(|denied| vec![Refusal::run(Reason::Delegator(denied))])?;
    let (found, expected) = (keys.len(), pads.len());
    unless(found == expected, || vec![Refusal::run(Reason::Keys { found, expected })])?;
    Ok(keys)
}

/// Opens policies and attributes with a key of the right delegator.
pub(crate) fn open<R: Read + Seek>(
    facts: &Facts,
    pad: SealedPad<R>,
    released: ReleasedKey,
) -> Result<OpenedPad<R>, Reason> {
    let expected = facts.party(&pad.claimed().custodian)?.key_provider_id;
    let ReleasedKey { key, from: found } = released;
    unless(found == expected, || Reason::OtherSource { found, expected })?;
    let pad = opened(pad, &key)?;
    for policy in &pad.contents().policies {
        unless(facts.is_stated(&policy.engine), || Reason::NotStated(policy.engine))?;
    }
    Ok(pad)
}

fn opened<R: Read + Seek>(pad: SealedPad<R>, key: &DataKey) -> Result<OpenedPad<R>, Reason> {
    pad.open(key).map_err(|error| Reason::Sealed(error.to_string()))
}

pub(crate) fn named<R: Read + Seek>(pad: &SealedPad<R>) -> NamedPad {
    let metadata = pad.claimed();
    NamedPad { id: metadata.pad_id, digest: pad.digest(), custodian: metadata.custodian }
}

pub(crate) fn view<R: Read + Seek>(pad: &OpenedPad<R>) -> PadView {
    PadView {
        id: pad.metadata().pad_id,
        digest: pad.digest(),
        custodian: pad.metadata().custodian,
        contents: pad.contents().clone(),
    }
}

impl PadView {
    pub(crate) fn named(&self) -> NamedPad {
        NamedPad { id: self.id, digest: self.digest, custodian: self.custodian }
    }
}

/// Asks every engine once about all Pads whose policies name it. Every refusal is found, so that
/// each custodian's is known.
pub(crate) fn ask(
    facts: &Facts,
    pads: &[PadView],
    engines: &mut dyn Engines,
    output: Option<&OutputView>,
) -> Result<BTreeSet<Spend>, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let mut spends = BTreeSet::new();
    for (engine, asked) in by_engine(pads) {
        let answers = match output {
            None => engines.check_input(&engine, &facts.run, pads, &asked),
            Some(output) => engines.check_output(&engine, &facts.run, pads, &asked, output),
        };
        let answers = answers.map_err(|failed| Reason::Engine { engine, failed });
        let answers = answers.and_then(|answers| {
            let (found, expected) = (answers.len(), asked.len());
            unless(found == expected, || Reason::Answers { engine, found, expected })?;
            Ok(answers)
        });
        let answers = match answers {
            Ok(answers) => answers,
            Err(reason) => {
                refusals.push(Refusal::run(reason));
                continue;
            }
        };
        for (pad, answer) in asked.iter().zip(answers) {
            let pad = &pads[*pad as usize];
            match uses(facts, &engine, pad, pads, output, answer) {
                Ok(uses) => spends.extend(uses),
                Err(reason) => refusals.push(Refusal::pad(pad.named(), reason)),
            }
        }
    }
    every(refusals).map(|()| spends)
}

/// Every engine, with the places of the Pads whose policies name it.
fn by_engine(pads: &[PadView]) -> BTreeMap<Sha256Digest, Vec<u32>> {
    let mut engines: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    for (place, pad) in (0_u32..).zip(pads) {
        let named: BTreeSet<_> = pad.contents.policies.iter().map(|policy| policy.engine).collect();
        named.into_iter().for_each(|engine| engines.entry(engine).or_default().push(place));
    }
    engines
}

/// The uses that a yes asks for.
fn uses(
    facts: &Facts,
    engine: &Sha256Digest,
    pad: &PadView,
    pads: &[PadView],
    output: Option<&OutputView>,
    answer: Answer,
) -> Result<Vec<Spend>, Reason> {
    let (quotas, refusal) = match answer {
        Answer::Allowed(quotas) => (quotas, None),
        Answer::Refused(refusal) => (Vec::new(), Some(refusal)),
    };
    unless(refusal.is_none(), || broken(facts, engine, pad, pads, output, refusal))?;
    // A use by another one would spend what is not the owner's to spend.
    let is_owners = |quota: &QuotaUse| Some(quota.owner) == facts.run.owner;
    unless(quotas.iter().all(is_owners), || Reason::Use(*engine))?;
    let has_size = |quota: &QuotaUse| quota.uses > 0 && quota.period_secs > 0;
    unless(quotas.iter().all(has_size), || Reason::Use(*engine))?;
    let most = if output.is_some() { 0 } else { MAX_USES };
    unless(quotas.len() <= most, || Reason::Use(*engine))?;
    let party = facts.party(&pad.custodian)?;
    let (key_provider_id, custodian) = (party.key_provider_id, pad.custodian);
    let spend = |quota| Spend { key_provider_id, engine: *engine, custodian, quota };
    Ok(quotas.into_iter().map(spend).collect())
}

fn broken(
    facts: &Facts,
    engine: &Sha256Digest,
    pad: &PadView,
    pads: &[PadView],
    output: Option<&OutputView>,
    refusal: Option<RuleRefusal>,
) -> Reason {
    let refusal = refusal.unwrap_or(RuleRefusal { code: 0, rule: None });
    let figure = figure::of(&refusal, pad, &facts.run, pads, output);
    Reason::Rule { rule: Broken::of(*engine, &refusal, figure) }
}

impl<R: Read + Seek> CheckedDataset<R> {
    /// Goes on to the data, whose length is known afterwards to be the one that was sealed.
    ///
    /// # Errors
    /// If the data of a Pad were cut or extended.
    pub fn open(self) -> Result<OpenDataset<R>, Refusal> {
        let Self { facts, pads, views, spends } = self;
        let mut readers = Vec::with_capacity(pads.len());
        for (pad, view) in pads.into_iter().zip(&views) {
            let reader = pad.into_data();
            let refused =
                |error: PadError| Refusal::pad(view.named(), Reason::Sealed(error.to_string()));
            readers.push(reader.map_err(refused)?);
        }
        Ok(OpenDataset { facts, views, readers, uses: Uses::Due(spends) })
    }
}

impl<R: Read + Seek> OpenDataset<R> {
    /// The Pads, in the order in which they were added.
    pub fn pads(&self) -> &[PadView] {
        &self.views
    }

    /// The data of the Pad at this place.
    pub fn data(&mut self, place: usize) -> Option<&mut DataReader<R>> {
        self.readers.get_mut(place)
    }

    pub(crate) fn parents(&self) -> Vec<PadDigest> {
        self.views.iter().map(|view| view.digest).collect()
    }

    /// Gives decisions away that no delegator has yet.
    ///
    /// # Errors
    /// If a delegator does not take them.
    pub fn finish(mut self, delegator: &mut dyn Delegator) -> Result<(), Refusal> {
        self.facts.flush(delegator).map_err(|denied| Refusal::run(Reason::Delegator(denied)))
    }
}
