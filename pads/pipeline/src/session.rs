//! A run whose steps come from a program's process: joins the order of `pad-run` with the types of
//! this crate.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use pad_format::contents::Value;
use pad_format::reader::DataReader;
use pad_run::{Answer, Judge, Pad, Proposal};
use zeroize::Zeroizing;

use crate::dataset::{CheckedDataset, Dataset, OpenDataset};
use crate::delegator::Delegator;
use crate::engines::{Engines, PadView};
use crate::output::{Output, stated};
use crate::refusal::{Reason, Refusal};
use crate::submission::Accepted;

/// One run.
pub struct Session<'a, R> {
    state: State<R>,
    /// Where the dataset has the Pads that the program names.
    positions: BTreeMap<Pad, usize>,
    engines: &'a mut dyn Engines,
    delegator: &'a mut dyn Delegator,
    outputs: Vec<Output>,
    refusals: Vec<Refusal>,
}

enum State<R> {
    Waiting(Box<Dataset<R>>),
    Checked(Box<CheckedDataset<R>>),
    Open(Box<OpenDataset<R>>),
    /// Something was refused, and there is no dataset.
    Over,
}

/// How a run ended: what left, and what did not.
#[derive(Debug)]
pub struct Outcome {
    /// Outputs, in the order in which they were proposed.
    pub outputs: Vec<Output>,
    /// Every refusal.
    pub refusals: Vec<Refusal>,
}

impl<'a, R: Read + Seek> Session<'a, R> {
    /// A run that may begin.
    pub fn new(
        run: Accepted<R>,
        engines: &'a mut dyn Engines,
        delegator: &'a mut dyn Delegator,
    ) -> Self {
        Self {
            state: State::Waiting(Box::new(Dataset::new(run))),
            positions: BTreeMap::new(),
            engines,
            delegator,
            outputs: Vec::new(),
            refusals: Vec::new(),
        }
    }

    /// The data of a Pad of the checked dataset.
    ///
    /// # Errors
    /// If the dataset was not allowed, or data of one of its Pads were changed.
    pub fn data(&mut self, pad: Pad) -> Result<&mut DataReader<R>, Refusal> {
        if let State::Checked(_) = self.state {
            self.open()?;
        }
        let place = self.positions.get(&pad).copied();
        let State::Open(open) = &mut self.state else { return Err(Refusal::run(Reason::Handle)) };
        let data = place.and_then(|place| open.data(place));
        data.ok_or(Refusal::run(Reason::Handle))
    }

    /// Policies and attributes of a Pad of the open dataset, as its program may know them.
    pub fn contents(&self, pad: Pad) -> pad_run::Contents {
        let State::Open(open) = &self.state else { return pad_run::Contents::default() };
        let view = self.positions.get(&pad).and_then(|place| open.pads().get(*place));
        view.map(shown).unwrap_or_default()
    }

    /// Ends the run; what was decided and is in no record yet is recorded.
    pub fn finish(mut self) -> Outcome {
        if let State::Open(open) = std::mem::replace(&mut self.state, State::Over) {
            self.refusals.extend(open.finish(self.delegator).err());
        }
        Outcome { outputs: self.outputs, refusals: self.refusals }
    }

    fn open(&mut self) -> Result<(), Refusal> {
        let State::Checked(checked) = std::mem::replace(&mut self.state, State::Over) else {
            return Err(Refusal::run(Reason::Handle));
        };
        match checked.open() {
            Ok(open) => self.state = State::Open(Box::new(open)),
            Err(refusal) => {
                self.refusals.push(refusal.clone());
                return Err(refusal);
            }
        }
        Ok(())
    }

    fn checked(&mut self, pads: &[Pad]) -> Result<CheckedDataset<R>, Vec<Refusal>> {
        let State::Waiting(mut dataset) = std::mem::replace(&mut self.state, State::Over) else {
            return Err(vec![Refusal::run(Reason::Handle)]);
        };
        for (place, pad) in pads.iter().enumerate() {
            dataset.add(pad.index()).map_err(|refusal| vec![refusal])?;
            self.positions.insert(*pad, place);
        }
        dataset.check(self.engines, self.delegator)
    }

    fn left(&mut self, proposal: Proposal, data: Zeroizing<Vec<u8>>) -> Result<(), Vec<Refusal>> {
        let State::Open(open) = &mut self.state else {
            return Err(vec![Refusal::run(Reason::Handle)]);
        };
        let one = |refusal| vec![refusal];
        let allowed = open.propose(proposal, data).map_err(one)?.check(self.engines)?;
        let packed = allowed.pack(self.delegator).map_err(one)?;
        self.outputs.push(packed.into_output());
        Ok(())
    }

    fn answer<T>(&mut self, decided: Result<T, Vec<Refusal>>) -> Option<T> {
        decided.map_err(|refusals| self.refusals.extend(refusals)).ok()
    }
}

impl<R: Read + Seek> Judge for Session<'_, R> {
    fn dataset(&mut self, pads: &[Pad]) -> Answer {
        let checked = self.checked(pads);
        match self.answer(checked) {
            Some(checked) => {
                self.state = State::Checked(Box::new(checked));
                Answer::Allowed
            }
            None => Answer::Refused,
        }
    }

    fn output(&mut self, _: &[Pad], proposal: Proposal, data: Zeroizing<Vec<u8>>) -> Answer {
        let left = self.left(proposal, data);
        match self.answer(left) {
            Some(()) => Answer::Allowed,
            None => Answer::Refused,
        }
    }
}

fn shown(pad: &PadView) -> pad_run::Contents {
    let policies = pad.contents.policies.iter().map(stated);
    let attributes = pad.contents.attributes.iter().map(|attribute| pad_run::Attribute {
        name: attribute.name.as_str().to_owned(),
        value: match &attribute.value {
            Value::Integer(number) => pad_run::Value::Number(*number),
            Value::Text(text) => pad_run::Value::Text(text.clone()),
            Value::Bytes(bytes) => pad_run::Value::Bytes(bytes.clone()),
        },
    });
    pad_run::Contents { policies: policies.collect(), attributes: attributes.collect() }
}
