//! Host calls at random: of a program with random handles, windows and outputs, and of an engine
//! with random windows and answers.
//!
//! One program makes the calls that its plain input lists, one engine those that the proposed data
//! lists, so that nothing is compiled for a list. How each list must end says a model that knows
//! nothing of the sandbox. With `DSTYX_LONG` this goes on for ten minutes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pad_run::MAX_WINDOW_BYTES;
use pad_runner::consumer::middleware::{Job, run};
use pad_runner::{Artefact, EngineError, PolicyEngine, component};
use zeroize::Zeroizing;

use crate::programs::{
    self, Hospital, Random, SECRET, consumer_limits, engine_limits, pad, run_of_one,
};

/// Lists that are tried at least, and how long it goes on with `DSTYX_LONG`.
const LISTS: u64 = 150;
const ANSWERS: u64 = 1500;
const LONG: Duration = Duration::from_secs(300);
/// Pads of each run; the last has an engine that refuses.
const PADS: u32 = 3;
/// Bytes of data that each Pad has: `secret of pad0`.
const DATA_BYTES: u64 = SECRET.len() as u64 + 8;
/// Bytes of one call in a list: what is called, and its arguments.
const CALL_BYTES: usize = 32;
/// Bytes of the program's memory.
const MEMORY_BYTES: u32 = 64 << 16;

/// Makes the calls of its plain input. What a call gives is forgotten, so that memory is left.
const CALLER: &str = r#"(memory (export "memory") 64)
(func (export "run") (param $at i32) (param $length i32)
  (local $end i32) (local $what i32) (local $a i32) (local $b i64) (local $c i32)
  (local $d i32) (local $e i32) (local $f i32)
  (local.set $end (i32.add (local.get $at) (local.get $length)))
  (loop $more
    (if (i32.lt_u (local.get $at) (local.get $end)) (then
      (global.set $free (i32.const 2097152))
      (local.set $what (i32.load (local.get $at)))
      (local.set $a (i32.load offset=4 (local.get $at)))
      (local.set $b (i64.load offset=8 (local.get $at)))
      (local.set $c (i32.load offset=16 (local.get $at)))
      (local.set $d (i32.load offset=20 (local.get $at)))
      (local.set $e (i32.load offset=24 (local.get $at)))
      (local.set $f (i32.load offset=28 (local.get $at)))
      (if (i32.eq (local.get $what) (i32.const 0)) (then (drop (call $pads))))
      (if (i32.eq (local.get $what) (i32.const 1)) (then (call $add (local.get $a))))
      (if (i32.eq (local.get $what) (i32.const 2)) (then (drop (call $check))))
      (if (i32.eq (local.get $what) (i32.const 3)) (then (call $open)))
      (if (i32.eq (local.get $what) (i32.const 4)) (then (drop (call $size (local.get $a)))))
      (if (i32.eq (local.get $what) (i32.const 5)) (then
        (call $read (local.get $a) (local.get $b) (local.get $c) (i32.const 0))))
      (if (i32.eq (local.get $what) (i32.const 6)) (then
        (call $describe (local.get $a) (i32.const 0))))
      (if (i32.eq (local.get $what) (i32.const 7)) (then
        (drop (call $propose (local.get $a)
          (local.get $b) (local.get $b) (local.get $b) (local.get $b)
          (i32.const 0) (local.get $c) (i32.const 0) (local.get $d)
          (local.get $e) (local.get $f)))))
      (local.set $at (i32.add (local.get $at) (i32.const 32)))
      (br $more)))))"#;

/// Reads the windows that the proposed data lists, and answers with a list at any place.
const READER: &str = r#"
(import "dstyx:pad/proposed@0.1.0" "size" (func $size (result i64)))
(import "dstyx:pad/proposed@0.1.0" "read" (func $read (param i64 i32 i32)))
(memory (export "memory") 8)
(func (export "check-output") (param i32) (result i32)
  (local $at i32) (local $end i32)
  (call $read (i64.const 0) (i32.wrap_i64 (call $size)) (i32.const 0))
  (local.set $at (i32.load (i32.const 0)))
  (local.set $end (i32.add (local.get $at) (i32.load (i32.const 4))))
  (loop $more
    (if (i32.lt_u (local.get $at) (local.get $end)) (then
      (if (i32.eqz (i32.load (local.get $at)))
        (then (return (i32.load offset=4 (local.get $at)))))
      (global.set $free (i32.const 131072))
      (call $read (i64.load offset=8 (local.get $at)) (i32.load offset=4 (local.get $at))
        (i32.const 0))
      (local.set $at (i32.add (local.get $at) (i32.const 16)))
      (br $more))))
  (call $yes))"#;

/// A call of the program.
#[derive(Debug, Clone, Copy)]
enum Call {
    Pads,
    Add(u32),
    Check,
    Open,
    Size(u32),
    Read(u32, u64, u32),
    Describe(u32),
    Propose(Proposal),
    /// A number of no call, which the program skips.
    Nothing(u32),
}

/// An output without policies and attributes; it is for a custodian if the tag is 1.
#[derive(Debug, Clone, Copy)]
struct Proposal {
    tag: u32,
    policies: u32,
    attributes: u32,
    at: u32,
    length: u32,
}

impl Call {
    fn bytes(self) -> [u8; CALL_BYTES] {
        let (what, a, b, rest) = match self {
            Self::Pads => (0, 0, 0, [0; 4]),
            Self::Add(pad) => (1, pad, 0, [0; 4]),
            Self::Check => (2, 0, 0, [0; 4]),
            Self::Open => (3, 0, 0, [0; 4]),
            Self::Size(pad) => (4, pad, 0, [0; 4]),
            Self::Read(pad, offset, length) => (5, pad, offset, [length, 0, 0, 0]),
            Self::Describe(pad) => (6, pad, 0, [0; 4]),
            Self::Propose(Proposal { tag, policies, attributes, at, length }) => {
                (7, tag, 0, [policies, attributes, at, length])
            }
            Self::Nothing(what) => (what, 0, 0, [0; 4]),
        };
        let mut bytes = [0; CALL_BYTES];
        bytes[..4].copy_from_slice(&u32::to_le_bytes(what));
        bytes[4..8].copy_from_slice(&a.to_le_bytes());
        bytes[8..16].copy_from_slice(&u64::to_le_bytes(b));
        for (to, word) in bytes[16..].chunks_mut(4).zip(rest) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Any call, with arguments that are often those of a right one.
    fn random(random: &mut Random) -> Self {
        match random.below(9) {
            0 => Self::Pads,
            1 => Self::Add(handle(random)),
            2 => Self::Check,
            3 => Self::Open,
            4 => Self::Size(handle(random)),
            5 => {
                let length = number(random, DATA_BYTES + 2) as u32;
                Self::Read(handle(random), number(random, DATA_BYTES + 2), length)
            }
            6 => Self::Describe(handle(random)),
            7 => Self::Propose(Proposal {
                tag: number(random, 3) as u32,
                policies: number(random, 2) as u32,
                attributes: number(random, 2) as u32,
                at: number(random, 2_000_000) as u32,
                length: number(random, 2_000_000) as u32,
            }),
            _ => Self::Nothing(8 + random.below(1 << 20) as u32),
        }
    }
}

/// A handle that is often one of the run's.
fn handle(random: &mut Random) -> u32 {
    number(random, u64::from(PADS) + 1) as u32
}

/// A number that is often below a bound, sometimes at the end of what there is, or anything.
fn number(random: &mut Random, most: u64) -> u64 {
    match random.below(12) {
        0 => u64::MAX - random.below(3),
        1 => random.below(1 << 32) << random.below(32),
        _ => random.below(most),
    }
}

/// A list that begins as a right run does, up to some place.
fn list(random: &mut Random) -> Vec<Call> {
    let right = [Call::Add(0), Call::Add(1), Call::Check, Call::Open];
    let mut calls = right[..random.below(5) as usize].to_vec();
    let more = random.below(8) + 1;
    calls.extend((0..more).map(|_| Call::random(random)));
    calls
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    NotChecked,
    Checked,
    Open,
    Refused,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::NotChecked => "not checked",
            Self::Checked => "checked, not open",
            Self::Open => "open",
            Self::Refused => "refused",
        }
    }
}

/// What is known of a run from its calls alone.
struct Model {
    state: State,
    added: BTreeSet<u32>,
    outputs: usize,
}

/// How a call ends a run.
#[derive(Debug)]
enum End {
    /// With this text.
    With(String),
    /// With some error.
    Failed,
    /// It lifts what memory happens to hold: no model says how.
    Unknown,
}

impl Model {
    /// Makes calls until one ends the run.
    fn of(calls: &[Call]) -> (Self, Result<(), End>) {
        let mut model = Self { state: State::NotChecked, added: BTreeSet::new(), outputs: 0 };
        let ended = calls.iter().try_for_each(|call| model.call(*call));
        (model, ended)
    }

    fn call(&mut self, call: Call) -> Result<(), End> {
        let closed = Err(End::With("the program named a Pad that is not open".to_owned()));
        let is_open = |pad| self.state == State::Open && self.added.contains(&pad);
        match call {
            Call::Pads | Call::Nothing(_) => Ok(()),
            Call::Add(pad) => {
                self.only("add", State::NotChecked)?;
                if pad >= PADS {
                    let text = "the program named a Pad that was not submitted to this run";
                    return Err(End::With(text.to_owned()));
                }
                match self.added.insert(pad) {
                    true => Ok(()),
                    false => Err(End::With("the program added a Pad twice".to_owned())),
                }
            }
            Call::Check => {
                self.only("check", State::NotChecked)?;
                if self.added.is_empty() {
                    let text = "the program asked for a check of an empty dataset";
                    return Err(End::With(text.to_owned()));
                }
                let is_refused = self.added.contains(&(PADS - 1));
                self.state = if is_refused { State::Refused } else { State::Checked };
                Ok(())
            }
            Call::Open => {
                self.only("open", State::Checked)?;
                self.state = State::Open;
                Ok(())
            }
            Call::Size(pad) | Call::Describe(pad) if is_open(pad) => Ok(()),
            Call::Read(pad, offset, length) if is_open(pad) => {
                let end = offset.checked_add(length.into());
                match length <= MAX_WINDOW_BYTES && end.is_some_and(|end| end <= DATA_BYTES) {
                    true => Ok(()),
                    false => Err(End::With(
                        "the program asked for a window outside a Pad's data, or for more than \
                         1 MiB"
                            .to_owned(),
                    )),
                }
            }
            Call::Size(_) | Call::Describe(_) | Call::Read(..) => closed,
            Call::Propose(proposal) => self.propose(proposal),
        }
    }

    fn propose(&mut self, proposal: Proposal) -> Result<(), End> {
        let end = u64::from(proposal.at) + u64::from(proposal.length);
        let is_inside = end <= u64::from(MEMORY_BYTES) && proposal.tag <= 1;
        if !is_inside {
            return Err(End::Failed);
        }
        if proposal.policies > 0 || proposal.attributes > 0 {
            return Err(End::Unknown);
        }
        self.only("propose", State::Open)?;
        if self.outputs >= consumer_limits().proposals as usize {
            return Err(End::With("the program proposed more outputs than its run may".to_owned()));
        }
        self.outputs += 1;
        Ok(())
    }

    fn only(&self, step: &str, state: State) -> Result<(), End> {
        match self.state == state {
            true => Ok(()),
            false => Err(End::With(format!(
                "the program wanted to {step} while its dataset was {}",
                self.state.name()
            ))),
        }
    }
}

/// Numbers of lists: so many, or as many as there is time for.
fn numbers(least: u64) -> impl Iterator<Item = u64> {
    let until = std::env::var_os("DSTYX_LONG").map(|_| Instant::now() + LONG);
    (0..).take_while(move |number| {
        *number < least || until.is_some_and(|until| Instant::now() < until)
    })
}

/// Runs a list; what left, what was opened, and how it ended.
fn ended(program: &Artefact, calls: &[Call]) -> (Hospital, Result<(), String>) {
    let plain: Vec<u8> = calls.iter().flat_map(|call| call.bytes()).collect();
    let limits = consumer_limits();
    let job = Job { program, pads: PADS, plain: &plain, limits };
    let mut hospital = Hospital::default();
    let ended = run(&programs::runner(), &job, &mut hospital);
    (hospital, ended.map_err(|error| error.to_string()))
}

#[test]
fn random_calls_of_a_program_end_as_a_model_says() {
    let (program, _) =
        programs::compiler().compile(&programs::consumer(CALLER), None).expect("a right component");
    let mut ends = BTreeSet::new();
    for number in numbers(LISTS) {
        let calls = list(&mut Random::new(number));
        let (hospital, found) = ended(&program, &calls);
        let (model, expected) = Model::of(&calls);
        match (&found, &expected) {
            (Ok(()), Ok(())) | (Err(_), Err(End::Failed)) | (_, Err(End::Unknown)) => {}
            (Err(found), Err(End::With(expected))) if found == expected => {}
            _ => panic!("list {number}: {calls:?}: found {found:?}, expected {expected:?}"),
        }
        let opened: BTreeSet<_> = hospital.opened.iter().map(|pad| *pad as u32).collect();
        let added = if model.state == State::Open { model.added } else { BTreeSet::new() };
        assert_eq!(opened, added, "list {number}: {calls:?}");
        let left = hospital.allowed.len() + hospital.refused.len();
        let is_known = !matches!(expected, Err(End::Unknown));
        assert!(left == model.outputs || !is_known, "list {number}: {calls:?}");
        ends.insert(found);
    }
    assert!(ends.len() > 10, "only {} ends: {ends:?}", ends.len());
}

fn answer(engine: &PolicyEngine, data: Vec<u8>) -> Result<usize, EngineError> {
    let output = pad_runner::engines::Output {
        custodian: None,
        policies: Vec::new(),
        attributes: Vec::new(),
        size: data.len() as u64,
    };
    let data = Arc::new(Zeroizing::new(data));
    let answers = engine.check_output(&run_of_one(), &[pad(1), pad(2)], &[0], &output, data);
    answers.map(|answers| answers.len())
}

#[test]
fn random_windows_and_answers_of_an_engine_are_bounded() {
    let component = programs::engine(READER);
    let (engine, _) = programs::engines()
        .load(component::digest(&component), &component, None)
        .expect("a right component");
    let mut ends = BTreeSet::new();
    for list in numbers(ANSWERS) {
        let mut random = Random::new(list);
        let (mut data, mut expected) = (Vec::new(), None);
        let windows: Vec<_> = (0..random.below(6))
            .map(|_| (number(&mut random, 120) as u32, number(&mut random, 120)))
            .collect();
        for (length, offset) in &windows {
            data.extend(1_u32.to_le_bytes());
            data.extend(length.to_le_bytes());
            data.extend(offset.to_le_bytes());
        }
        let answers_at = (random.below(3) == 0).then(|| number(&mut random, 8 << 16) as u32);
        if let Some(at) = answers_at {
            data.extend(0_u32.to_le_bytes());
            data.extend(at.to_le_bytes());
            data.extend((0..random.below(64)).flat_map(|_| random.below(1 << 40).to_le_bytes()));
        }
        let mut left = engine_limits().read_bytes - data.len() as u64;
        for (length, offset) in windows {
            let (length, size) = (u64::from(length), data.len() as u64);
            expected = if length > u64::from(MAX_WINDOW_BYTES) {
                Some(EngineError::Window)
            } else if length > left {
                Some(EngineError::Reads)
            } else if offset.checked_add(length).is_none_or(|end| end > size) {
                Some(EngineError::Window)
            } else {
                None
            };
            if expected.is_some() {
                break;
            }
            left -= length;
        }
        let found = answer(&engine, data);
        match (expected, answers_at) {
            (Some(error), _) => assert_eq!(found, Err(error), "list {list}"),
            (None, None) => assert_eq!(found, Ok(1), "list {list}"),
            (None, Some(_)) => {
                let is_named =
                    matches!(found, Err(EngineError::Answer { .. } | EngineError::Trapped));
                assert!(is_named || found == Ok(1), "list {list}: {found:?}");
            }
        }
        ends.insert(format!("{found:?}"));
    }
    assert!(ends.len() >= 3, "{ends:?}");
}
