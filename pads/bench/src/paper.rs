//! The rows of the paper's Table 1, from whole runs on the paper's workload: real engine, a real
//! process of a consumer, and delegators in memory; what a channel and keys cost is from a file
//! that another bench of the same command wrote.

use std::cell::Cell;
use std::io::{self, Cursor};
use std::path::Path;
use std::time::{Duration, Instant};

use pad_format::PadId;
use pad_format::reader::SealedPad;
use pad_pipeline::engines::{Answer, EngineFailed, OutputView, PadView, RunView, UpdateView};
use pad_pipeline::{Engines, Runs, Session};
use pad_run::{Contents, Judge, Pad, Proposal};
use pad_runner::component;
use pad_runner::consumer::middleware::{Job, Middleware, run};
use pad_runner::serve::Loaded;
use protocol::digest::Sha256Digest;
use zeroize::Zeroizing;

use crate::hospitals::{Hospitals, PADS, target};
use crate::table::{Times, row, timed};
use crate::{checks, programs};

/// Whole runs.
const ROUNDS: usize = 101;
/// Of the paper, in milliseconds.
const NEW: f64 = 0.007;
const ATTESTATION: f64 = 135.089;
const FETCH: f64 = 0.177;
const LOAD_WITH_FETCH: f64 = 135.362;
const LOAD: f64 = 0.113;
const EVALUATION: f64 = 2.073;
const ACCESS: f64 = 0.258;
const OUTPUT: f64 = 1.937;

/// What the steps of one run took.
#[derive(Default, Clone)]
struct Steps {
    accepted: Duration,
    new: Duration,
    evaluation: Duration,
    access: Duration,
    output: Duration,
    output_check: Duration,
    packed: Duration,
}

/// Prints all rows.
pub fn paper() {
    let component = programs::component("joint");
    let program = Sha256Digest(component::digest(&component));
    let (engine, ready) = checks::share();
    let hospitals = Hospitals::new(engine, program);
    let compiled = programs::compiled(&component);
    let target = target().0.0;
    let mut steps = Vec::new();
    for _ in 0..ROUNDS {
        let mut engines = Clocked { loaded: Loaded::new(&ready), input: None, output: None };
        let (mut keys, mut runs) = (hospitals.keys(), Runs::default());
        let submission = hospitals.submission(&mut runs);
        let (accepted, took) = timed(|| submission.accept(&mut runs).expect("accepted"));
        let mut one = Steps { accepted: took, ..Steps::default() };
        let (session, took) = timed(|| Session::new(accepted, &mut engines, &mut keys));
        one.new = took;
        let mut watch = Watch { session, opened: None, read: Cell::new(None), output: None };
        let limits = programs::limits();
        let job = Job { program: &compiled, pads: PADS as u32, plain: &target, limits };
        run(&programs::runner(), &job, &mut watch).expect("a run that ends well");
        let (begun, took) = watch.output.expect("an output");
        one.access = watch.read.get().expect("reads").duration_since(watch.opened.expect("opened"));
        let outcome = watch.session.finish();
        assert_eq!((outcome.outputs.len(), outcome.refusals.len()), (1, 0), "{outcome:?}");
        one.evaluation = engines.input.expect("a check");
        (one.output, one.output_check) = (took, engines.output.expect("a check"));
        one.packed = keys.audited.expect("a record").duration_since(begun) - one.output_check;
        steps.push(one);
    }
    rows(&steps, &loads(&hospitals), &generated());
}

fn rows(steps: &[Steps], load: &Times, generated: &Times) {
    let of = |part: fn(&Steps) -> Duration| Times::of(steps.iter().map(part));
    let new = of(|steps| steps.new);
    let (evaluation, access) = (of(|steps| steps.evaluation), of(|steps| steps.access));
    let output = of(|steps| steps.output);
    beside("new dataset", &new, NEW, "");
    let accepted = of(|steps| steps.accepted);
    let figure = "a run accepted: signatures of its owner and of four enrolments";
    row(figure, &accepted.shown(), "the paper has none", None, "");
    beside("load without fetch, one Pad", load, LOAD, "≤ 0.10x");
    let figure = format!("policy evaluation, {PADS} Pads");
    beside(&figure, &evaluation, EVALUATION, "≤ 0.10x");
    beside(&format!("access, all data of {PADS} Pads"), &access, ACCESS, "≤ 0.10x");
    beside("output: a Pad of 13 kB", &output, OUTPUT, "≤ 0.10x");
    let check = of(|steps| steps.output_check);
    row("- its policy evaluation", &check.shown(), "", None, "");
    row("- the Pad", &generated.shown(), "the paper: 1.405 ms", None, "");
    let record = of(|steps| steps.packed).median().saturating_sub(generated.median());
    let figure = "- the audit record, sealed for three custodians, and the rest";
    row(figure, &crate::table::time(record), "the paper has none", None, "");
    let ours: f64 =
        [&new, load, &evaluation, &access, &output].iter().map(|part| part.micros()).sum();
    let theirs = NEW + LOAD + EVALUATION + ACCESS + OUTPUT;
    total("sum of the rows without fetch", ours, theirs);
    fetched(ours, load.micros());
}

/// The rows with a fetch, if a delegator was measured.
fn fetched(others: f64, load: f64) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench/delegator.toml");
    let Ok(text) = std::fs::read_to_string(path) else { return };
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
        line.and_then(|value| value.parse::<f64>().ok()).expect("a measured figure")
    };
    let quotes = 2.0 * value("quote");
    let parts = ["channel_consumer", "channel_delegator", "channel_wait"];
    let channel = parts.map(value).iter().sum::<f64>() - quotes;
    let parts = ["fetch_consumer", "fetch_consumer_pad", "fetch_delegator", "fetch_delegator_pad"];
    let fetch = parts.map(value).iter().sum::<f64>();
    one("load with key fetch: attestation, without quotes", channel, ATTESTATION, "≤ 0.10x");
    row("- both quotes, by the emulator's library", &micros(quotes), "part of the above", None, "");
    one("- fetch of one key, ledger on the disk", fetch, FETCH, "");
    let all = channel + quotes + fetch + load;
    one("load with key fetch, one Pad, quotes included", all, LOAD_WITH_FETCH, "≤ 0.10x");
    let theirs = NEW + LOAD_WITH_FETCH + EVALUATION + ACCESS + OUTPUT;
    total("sum of the rows with fetch", others - load + all, theirs);
}

fn beside(figure: &str, ours: &Times, paper_millis: f64, aim: &str) {
    let ratio = ours.micros() / 1e3 / paper_millis;
    let paper = format!("the paper: {paper_millis:.3} ms");
    row(figure, &ours.shown(), &paper, Some(ratio), aim);
}

fn one(figure: &str, ours_micros: f64, paper_millis: f64, aim: &str) {
    let paper = format!("the paper: {paper_millis:.3} ms");
    row(figure, &micros(ours_micros), &paper, Some(ours_micros / 1e3 / paper_millis), aim);
}

fn total(figure: &str, ours_micros: f64, paper_millis: f64) {
    one(figure, ours_micros, paper_millis, "≤ 0.10x");
}

fn micros(micros: f64) -> String {
    crate::table::time(Duration::from_secs_f64(micros / 1e6))
}

/// What stands before the data of a Pad, read and opened: keys, policies, the custodian's signature
/// over its attribute.
fn loads(hospitals: &Hospitals) -> Times {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        for pad in &hospitals.pads {
            let key = pad.key();
            let load = || {
                let sealed = SealedPad::read(Cursor::new(&pad.bytes[..])).expect("a Pad");
                sealed.open(&key).expect("its key")
            };
            times.push(timed(load).1);
        }
    }
    Times::of(times)
}

/// A Pad like the output, packed.
fn generated() -> Times {
    let hospitals = Hospitals::new(Sha256Digest([1; 32]), Sha256Digest([2; 32]));
    let pad = &hospitals.pads[0];
    let sealed = SealedPad::read(Cursor::new(&pad.bytes[..])).expect("a Pad");
    let opened = sealed.open(&pad.key()).expect("its key");
    let mut contents = opened.contents().clone();
    contents.attributes.clear();
    let data = vec![1; 13_000];
    Times::of((0..ROUNDS).map(|_| {
        let work = || {
            let pad_id = PadId::generate().expect("randomness");
            crate::hospitals::packed(&contents, pad_id, &data)
        };
        timed(work).1
    }))
}

/// Engines whose time is taken.
struct Clocked<'a> {
    loaded: Loaded<'a>,
    input: Option<Duration>,
    output: Option<Duration>,
}

impl Engines for Clocked<'_> {
    fn check_input(
        &mut self,
        engine: &Sha256Digest,
        run: &RunView,
        pads: &[PadView],
        asked: &[u32],
    ) -> Result<Vec<Answer>, EngineFailed> {
        let (answers, took) = timed(|| self.loaded.check_input(engine, run, pads, asked));
        self.input = Some(took);
        answers
    }

    fn check_output(
        &mut self,
        engine: &Sha256Digest,
        run: &RunView,
        pads: &[PadView],
        asked: &[u32],
        output: &OutputView,
    ) -> Result<Vec<Answer>, EngineFailed> {
        let (answers, took) = timed(|| self.loaded.check_output(engine, run, pads, asked, output));
        self.output = Some(took);
        answers
    }

    fn check_update(
        &mut self,
        engine: &Sha256Digest,
        update: &UpdateView,
    ) -> Result<Answer, EngineFailed> {
        self.loaded.check_update(engine, update)
    }
}

/// A session whose steps are timed: from the opened dataset to the first question after all reads,
/// and the output.
struct Watch<'a> {
    session: Session<'a, Cursor<&'a [u8]>>,
    opened: Option<Instant>,
    read: Cell<Option<Instant>>,
    output: Option<(Instant, Duration)>,
}

impl Judge for Watch<'_> {
    fn dataset(&mut self, pads: &[Pad]) -> pad_run::Answer {
        self.session.dataset(pads)
    }

    fn output(
        &mut self,
        pads: &[Pad],
        proposal: Proposal,
        data: Zeroizing<Vec<u8>>,
    ) -> pad_run::Answer {
        let begun = Instant::now();
        let answer = self.session.output(pads, proposal, data);
        self.output = Some((begun, begun.elapsed()));
        answer
    }
}

impl Middleware for Watch<'_> {
    fn size(&mut self, pad: Pad) -> io::Result<u64> {
        self.opened.get_or_insert_with(Instant::now);
        let data = self.session.data(pad).map_err(io::Error::other)?;
        Ok(data.data_bytes())
    }

    fn data(&mut self, pad: Pad, to: &mut [u8]) -> io::Result<()> {
        let data = self.session.data(pad).map_err(io::Error::other)?;
        data.read_at(0, to).map(drop).map_err(io::Error::other)
    }

    fn contents(&self, pad: Pad) -> Contents {
        self.read.set(Some(Instant::now()));
        self.session.contents(pad)
    }
}
