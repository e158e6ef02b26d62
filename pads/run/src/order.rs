//! The order of a run: add, check, open, propose.
//!
//! Each state is a type that the next step consumes: [`Adding`] → [`Checked`] → [`Open`] →
//! [`Receiving`] → [`Open`]. There is no way from submitted Pads to their data but a yes of the
//! judge about all of them, and none from proposed bytes to an output but another yes. [`Run`]
//! holds the state while the steps come from a process that may send anything. A misuse ends the
//! run: the state is taken out before a step, and only a step that is right puts one back.

use std::collections::BTreeSet;

use zeroize::Zeroizing;

use crate::{MAX_OUTPUT_BYTES, MAX_PADS, MAX_PROPOSALS, Proposal};

/// A Pad of one run: an index that [`Adding`] found in this run's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pad(u32);

impl Pad {
    /// Its place in the list of submitted Pads.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A judge's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Every engine of every Pad said yes.
    Allowed,
    /// One did not, or could not be asked.
    Refused,
}

/// Asks the policy engines.
pub trait Judge {
    /// May the program compute on these Pads together?
    fn dataset(&mut self, pads: &[Pad]) -> Answer;

    /// May this output of a run on these Pads leave?
    fn output(&mut self, pads: &[Pad], proposal: Proposal, data: Zeroizing<Vec<u8>>) -> Answer;
}

/// A dataset that waits for Pads. Nothing was decided about it.
#[derive(Debug)]
pub struct Adding {
    submitted: u32,
    added: Vec<Pad>,
    seen: BTreeSet<Pad>,
}

impl Adding {
    /// A run to which this many Pads were submitted.
    pub fn new(submitted: u32) -> Result<Self, Misuse> {
        if submitted > MAX_PADS {
            return Err(Misuse::Pads(submitted));
        }
        Ok(Self { submitted, added: Vec::new(), seen: BTreeSet::new() })
    }

    /// Adds a submitted Pad, once.
    pub fn with(mut self, index: u32) -> Result<Self, Misuse> {
        if index >= self.submitted {
            return Err(Misuse::Handle);
        }
        let pad = Pad(index);
        if !self.seen.insert(pad) {
            return Err(Misuse::Twice);
        }
        self.added.push(pad);
        Ok(self)
    }

    /// Asks the judge about all of them; `Ok(None)` is a no, after which there is no dataset.
    pub fn check(self, judge: &mut dyn Judge) -> Result<Option<Checked>, Misuse> {
        if self.added.is_empty() {
            return Err(Misuse::Empty);
        }
        let answer = judge.dataset(&self.added);
        Ok((answer == Answer::Allowed).then_some(Checked { pads: self.added }))
    }
}

/// A dataset that every engine of every Pad agreed to, for this program.
#[derive(Debug)]
pub struct Checked {
    pads: Vec<Pad>,
}

impl Checked {
    /// Gives the program access to the data.
    pub fn open(self, proposals: u32) -> Open {
        Open { pads: self.pads, left: proposals.min(MAX_PROPOSALS) }
    }
}

/// A dataset whose data the program may read, from which it may propose outputs.
#[derive(Debug)]
pub struct Open {
    pads: Vec<Pad>,
    left: u32,
}

impl Open {
    /// The Pads that may be read, in the order in which they were added.
    pub fn pads(&self) -> &[Pad] {
        &self.pads
    }

    /// The Pad with this index, if it is one of them.
    pub fn pad(&self, index: u32) -> Result<Pad, Misuse> {
        self.pads.iter().copied().find(|pad| pad.0 == index).ok_or(Misuse::Closed)
    }

    /// Takes an output of which the data follows.
    pub fn propose(mut self, proposal: Proposal) -> Result<Receiving, Misuse> {
        self.left = self.left.checked_sub(1).ok_or(Misuse::Proposals)?;
        if proposal.size_bytes > MAX_OUTPUT_BYTES {
            return Err(Misuse::Output);
        }
        let data = Zeroizing::new(Vec::with_capacity(proposal.size_bytes as usize));
        Ok(Receiving { open: self, proposal, data })
    }
}

/// An output of which not all data came yet. No engine has seen it.
#[derive(Debug)]
pub struct Receiving {
    open: Open,
    proposal: Proposal,
    data: Zeroizing<Vec<u8>>,
}

impl Receiving {
    /// Takes a part of the data, which is never more than the proposal stated.
    pub fn part(mut self, bytes: &[u8]) -> Result<Self, Misuse> {
        if bytes.len() as u64 > self.missing_bytes() {
            return Err(Misuse::Part);
        }
        self.data.extend_from_slice(bytes);
        Ok(self)
    }

    /// Bytes that are still to come.
    pub fn missing_bytes(&self) -> u64 {
        self.proposal.size_bytes - self.data.len() as u64
    }

    /// Asks the judge about the whole output, and goes on with the dataset.
    pub fn judge(self, judge: &mut dyn Judge) -> (Open, Answer) {
        let Self { open, proposal, data } = self;
        let answer = judge.output(&open.pads, proposal, data);
        (open, answer)
    }
}

/// A run whose steps come from a process that may send anything.
#[derive(Debug)]
pub struct Run {
    state: State,
    proposals: u32,
}

#[derive(Debug)]
enum State {
    Adding(Adding),
    Checked(Checked),
    Open(Open),
    Receiving(Receiving),
    /// The judge said no, or the program misused the run.
    Over,
}

impl State {
    fn name(&self) -> &'static str {
        match self {
            Self::Adding(_) => "not checked",
            Self::Checked(_) => "checked, not open",
            Self::Open(_) => "open",
            Self::Receiving(_) => "open, with an output half sent",
            Self::Over => "refused",
        }
    }

    fn misuse(&self, step: &'static str) -> Misuse {
        Misuse::Order { step, state: self.name() }
    }
}

impl Run {
    /// A run of this many submitted Pads and at most so many proposals.
    pub fn new(submitted: u32, proposals: u32) -> Result<Self, Misuse> {
        Adding::new(submitted).map(|adding| Self { state: State::Adding(adding), proposals })
    }

    /// The step `add`.
    pub fn add(&mut self, index: u32) -> Result<(), Misuse> {
        match self.take() {
            State::Adding(adding) => self.state = State::Adding(adding.with(index)?),
            state => return Err(state.misuse("add")),
        }
        Ok(())
    }

    /// The step `check`.
    pub fn check(&mut self, judge: &mut dyn Judge) -> Result<Answer, Misuse> {
        let checked = match self.take() {
            State::Adding(adding) => adding.check(judge)?,
            state => return Err(state.misuse("check")),
        };
        let Some(checked) = checked else { return Ok(Answer::Refused) };
        self.state = State::Checked(checked);
        Ok(Answer::Allowed)
    }

    /// The step `open`: the Pads that may be read from now on.
    pub fn open(&mut self) -> Result<Vec<Pad>, Misuse> {
        match self.take() {
            State::Checked(checked) => {
                let open = checked.open(self.proposals);
                let pads = open.pads().to_vec();
                self.state = State::Open(open);
                Ok(pads)
            }
            state => Err(state.misuse("open")),
        }
    }

    /// The step `describe`: the Pad that it is about.
    pub fn describe(&mut self, index: u32) -> Result<Pad, Misuse> {
        match self.take() {
            State::Open(open) => {
                let pad = open.pad(index)?;
                self.state = State::Open(open);
                Ok(pad)
            }
            state => Err(state.misuse("describe")),
        }
    }

    /// The step `propose`; `None` if data is still to come.
    pub fn propose(
        &mut self,
        proposal: Proposal,
        judge: &mut dyn Judge,
    ) -> Result<Option<Answer>, Misuse> {
        match self.take() {
            State::Open(open) => {
                let receiving = open.propose(proposal)?;
                Ok(self.received(receiving, judge))
            }
            state => Err(state.misuse("propose")),
        }
    }

    /// More data of the proposed output; `None` if not all came yet.
    pub fn part(&mut self, bytes: &[u8], judge: &mut dyn Judge) -> Result<Option<Answer>, Misuse> {
        match self.take() {
            State::Receiving(receiving) => {
                let receiving = receiving.part(bytes)?;
                Ok(self.received(receiving, judge))
            }
            state => Err(state.misuse("send data")),
        }
    }

    fn received(&mut self, receiving: Receiving, judge: &mut dyn Judge) -> Option<Answer> {
        if receiving.missing_bytes() > 0 {
            self.state = State::Receiving(receiving);
            return None;
        }
        let (open, answer) = receiving.judge(judge);
        self.state = State::Open(open);
        Some(answer)
    }

    fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Over)
    }
}

/// How a program misused its run, which ends it. The texts hold nothing of the program's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misuse {
    /// more Pads than a run may have
    #[error("{0} Pads were submitted, a run has at most {MAX_PADS}")]
    Pads(u32),
    /// a step that this state does not have
    #[error("the program wanted to {step} while its dataset was {state}")]
    Order {
        /// What it wanted.
        step: &'static str,
        /// The state that does not have it.
        state: &'static str,
    },
    /// an index of no submitted Pad
    #[error("the program named a Pad that was not submitted to this run")]
    Handle,
    /// an index of no opened Pad
    #[error("the program named a Pad that is not open")]
    Closed,
    /// a Pad that is in the dataset already
    #[error("the program added a Pad twice")]
    Twice,
    /// a check of nothing
    #[error("the program asked for a check of an empty dataset")]
    Empty,
    /// more proposals than the run has
    #[error("the program proposed more outputs than its run may")]
    Proposals,
    /// an output that is too large
    #[error("the program proposed an output of more than {MAX_OUTPUT_BYTES} bytes")]
    Output,
    /// more data than the proposal stated
    #[error("the program sent more data than its proposal states")]
    Part,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Contents;

    /// Answers as it is told and counts the questions.
    #[derive(Debug)]
    struct Told {
        answer: Answer,
        datasets: Vec<Vec<Pad>>,
        outputs: Vec<Vec<u8>>,
    }

    impl Judge for Told {
        fn dataset(&mut self, pads: &[Pad]) -> Answer {
            self.datasets.push(pads.to_vec());
            self.answer
        }

        fn output(&mut self, _: &[Pad], _: Proposal, data: Zeroizing<Vec<u8>>) -> Answer {
            self.outputs.push(data.to_vec());
            self.answer
        }
    }

    fn told(answer: Answer) -> Told {
        Told { answer, datasets: Vec::new(), outputs: Vec::new() }
    }

    fn proposal(size_bytes: u64) -> Proposal {
        Proposal { custodian: None, contents: Contents::default(), size_bytes }
    }

    fn order(step: &'static str, state: &'static str) -> Misuse {
        Misuse::Order { step, state }
    }

    #[test]
    fn a_run_in_order_is_judged_twice() {
        let mut judge = told(Answer::Allowed);
        let mut run = Run::new(3, 1).expect("few Pads");
        run.add(2).expect("submitted");
        run.add(0).expect("submitted");
        assert_eq!(run.check(&mut judge), Ok(Answer::Allowed));
        assert_eq!(run.open(), Ok(vec![Pad(2), Pad(0)]));
        assert_eq!(run.propose(proposal(3), &mut judge), Ok(None));
        assert_eq!(run.part(b"ab", &mut judge), Ok(None));
        assert_eq!(run.part(b"c", &mut judge), Ok(Some(Answer::Allowed)));
        assert_eq!(judge.datasets, [[Pad(2), Pad(0)]]);
        assert_eq!(judge.outputs, [b"abc"]);
        assert_eq!(run.propose(proposal(0), &mut judge), Err(Misuse::Proposals));
    }

    #[test]
    fn a_step_out_of_order_ends_the_run() {
        let mut judge = told(Answer::Allowed);
        let mut fresh = Run::new(1, 9).expect("few Pads");
        assert_eq!(fresh.open(), Err(order("open", "not checked")));
        assert_eq!(fresh.add(0), Err(order("add", "refused")));

        let mut checked = Run::new(2, 9).expect("few Pads");
        checked.add(0).expect("submitted");
        checked.check(&mut judge).expect("in order");
        assert_eq!(checked.add(1), Err(order("add", "checked, not open")));
        assert_eq!(checked.open(), Err(order("open", "refused")));

        let mut open = Run::new(1, 9).expect("few Pads");
        open.add(0).expect("submitted");
        open.check(&mut judge).expect("in order");
        open.open().expect("in order");
        open.propose(proposal(2), &mut judge).expect("in order");
        let half = "open, with an output half sent";
        assert_eq!(open.propose(proposal(2), &mut judge), Err(order("propose", half)));
        assert_eq!(judge.outputs, [[0; 0]; 0]);
    }

    #[test]
    fn a_no_leaves_no_dataset() {
        let mut judge = told(Answer::Refused);
        let mut run = Run::new(1, 9).expect("few Pads");
        run.add(0).expect("submitted");
        assert_eq!(run.check(&mut judge), Ok(Answer::Refused));
        assert_eq!(run.open(), Err(order("open", "refused")));
        assert_eq!(run.check(&mut judge), Err(order("check", "refused")));
        assert_eq!(judge.datasets.len(), 1);
    }

    #[test]
    fn a_refused_output_leaves_the_dataset_open() {
        let mut judge = told(Answer::Allowed);
        let mut run = Run::new(1, 2).expect("few Pads");
        run.add(0).expect("submitted");
        run.check(&mut judge).expect("in order");
        run.open().expect("in order");
        judge.answer = Answer::Refused;
        assert_eq!(run.propose(proposal(0), &mut judge), Ok(Some(Answer::Refused)));
        judge.answer = Answer::Allowed;
        assert_eq!(run.propose(proposal(0), &mut judge), Ok(Some(Answer::Allowed)));
    }

    #[test]
    fn handles_are_of_this_run_and_used_once() {
        assert_eq!(Run::new(2, 9).expect("few Pads").add(2), Err(Misuse::Handle));
        assert_eq!(Run::new(2, 9).expect("few Pads").add(u32::MAX), Err(Misuse::Handle));
        let mut run = Run::new(3, 9).expect("few Pads");
        run.add(1).expect("submitted");
        run.add(0).expect("submitted");
        assert_eq!(run.add(1), Err(Misuse::Twice));
        assert_eq!(Run::new(MAX_PADS + 1, 9).err(), Some(Misuse::Pads(MAX_PADS + 1)));
    }

    #[test]
    fn an_opened_pad_is_described_and_no_other() {
        let mut judge = told(Answer::Allowed);
        let mut run = Run::new(2, 9).expect("few Pads");
        run.add(1).expect("submitted");
        run.check(&mut judge).expect("in order");
        run.open().expect("in order");
        assert_eq!(run.describe(1), Ok(Pad(1)));
        assert_eq!(run.describe(0), Err(Misuse::Closed));
        assert_eq!(run.describe(1), Err(order("describe", "refused")));
        let mut checked = Run::new(1, 9).expect("few Pads");
        checked.add(0).expect("submitted");
        checked.check(&mut judge).expect("in order");
        assert_eq!(checked.describe(0), Err(order("describe", "checked, not open")));
    }

    #[test]
    fn an_empty_dataset_is_asked_about_by_nobody() {
        let mut judge = told(Answer::Allowed);
        assert_eq!(Run::new(1, 9).expect("few Pads").check(&mut judge), Err(Misuse::Empty));
        assert!(judge.datasets.is_empty());
    }

    #[test]
    fn an_output_is_never_more_than_it_stated() {
        let open = |judge: &mut Told| {
            let mut run = Run::new(1, u32::MAX).expect("few Pads");
            run.add(0).expect("submitted");
            run.check(judge).expect("in order");
            run.open().expect("in order");
            run
        };
        let mut judge = told(Answer::Allowed);
        let mut run = open(&mut judge);
        assert_eq!(run.propose(proposal(MAX_OUTPUT_BYTES + 1), &mut judge), Err(Misuse::Output));
        let mut run = open(&mut judge);
        run.propose(proposal(1), &mut judge).expect("in order");
        assert_eq!(run.part(b"ab", &mut judge), Err(Misuse::Part));
        // The caller's bound is never above the budget.
        let mut run = open(&mut judge);
        for _ in 0..MAX_PROPOSALS {
            run.propose(proposal(0), &mut judge).expect("in order");
        }
        assert_eq!(run.propose(proposal(0), &mut judge), Err(Misuse::Proposals));
    }
}
