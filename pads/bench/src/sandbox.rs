//! What the sandbox costs by itself: windows of data, and a process.

use std::os::unix::net::UnixStream;
use std::time::Instant;

use pad_run::{Answer, Contents, Judge, Pad, Proposal};
use pad_runner::consumer::middleware::{Job, Middleware, run};
use pad_runner::runner::sealed;
use pad_runner::{Artefact, Cache, CacheKey, Role};
use zeroize::Zeroizing;

use crate::programs;
use crate::table::{Times, row, timed};

/// Rounds of each figure.
const ROUNDS: usize = 51;
/// Reads of one run.
const READS: u32 = 2_000_000;
/// Bytes of a Pad's data.
const DATA_BYTES: u64 = 1 << 20;

/// Prints all rows.
pub fn sandbox() {
    let component = programs::component("reads");
    let read = read_of_64_bytes(&programs::compiled(&component));
    let figure = "read of 64 bytes of an open dataset from WASM";
    row(
        figure,
        &read.shown(),
        "the paper's host call: 3 µs",
        Some(read.micros() / 3.0),
        "≤ 0.3 µs",
    );
    let (cached, start) = start(&component);
    row("compiled code of a consumer from the cache", &cached.shown(), "", None, "");
    let both = Times::of([cached.median() + start.median()]);
    row("start of its process to its first call", &start.shown(), "", None, "");
    let figure = "start to first instruction, cached: both together";
    row(figure, &crate::table::time(both.median()), "", None, "≤ 5 ms");
    row("a process in namespaces of its own that ends at once", &process().shown(), "", None, "");
}

/// Allows all, and notes when it was asked first.
#[derive(Default)]
struct Watch {
    asked: Option<Instant>,
}

impl Judge for Watch {
    fn dataset(&mut self, _: &[Pad]) -> Answer {
        self.asked = Some(Instant::now());
        Answer::Allowed
    }

    fn output(&mut self, _: &[Pad], _: Proposal, _: Zeroizing<Vec<u8>>) -> Answer {
        Answer::Allowed
    }
}

impl Middleware for Watch {
    fn size(&mut self, _: Pad) -> std::io::Result<u64> {
        Ok(DATA_BYTES)
    }

    fn data(&mut self, _: Pad, to: &mut [u8]) -> std::io::Result<()> {
        to.fill(1);
        Ok(())
    }

    fn contents(&self, _: Pad) -> Contents {
        Contents::default()
    }
}

fn run_of(program: &Artefact, reads: u32, watch: &mut Watch) {
    let plain = reads.to_string();
    let job = Job { program, pads: 1, plain: plain.as_bytes(), limits: programs::limits() };
    run(&programs::runner(), &job, watch).expect("a run that ends well");
}

/// From runs with many reads and with none.
fn read_of_64_bytes(program: &Artefact) -> Times {
    let took = |reads| timed(|| run_of(program, reads, &mut Watch::default())).1;
    Times::of((0..7).map(|_| took(READS).saturating_sub(took(0)) / READS))
}

/// Taking a program from the cache, and its start to its first call that the middleware answers.
fn start(component: &[u8]) -> (Times, Times) {
    let directory = std::env::temp_dir().join(format!("pad-bench-{}", std::process::id()));
    std::fs::create_dir(&directory).expect("a directory");
    let cache = Cache::new(&directory, CacheKey::new(Zeroizing::new([1; 32])));
    let compiler = programs::compiler();
    let compile = || compiler.compile(component, Some(&cache)).expect("a program").0;
    let program = compile();
    let rounds = (0..ROUNDS).map(|_| {
        let (_, cached) = timed(compile);
        let mut watch = Watch::default();
        let begun = Instant::now();
        run_of(&program, 0, &mut watch);
        (cached, watch.asked.expect("a check").duration_since(begun))
    });
    let rounds: Vec<_> = rounds.collect();
    std::fs::remove_dir_all(&directory).expect("its own directory");
    (Times::of(rounds.iter().map(|round| round.0)), Times::of(rounds.iter().map(|round| round.1)))
}

/// A process that ends at once.
fn process() -> Times {
    let nothing = sealed(&[]).expect("memory");
    Times::of((0..ROUNDS).map(|_| {
        let (_ours, theirs) = UnixStream::pair().expect("sockets");
        let begun = Instant::now();
        let process = programs::runner().start(Role::Probe, theirs, &nothing, 1 << 28);
        process.expect("a process").wait().expect("its end");
        begun.elapsed()
    }))
}
