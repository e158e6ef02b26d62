//! What runs on Pads cost, printed as figures: nothing is asserted.
//!
//! `cargo bench` in this directory. Each figure is the least of some rounds, which other work on
//! the machine disturbs least.

use std::io;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use pad_run::{Answer, Contents, Judge, Pad, Proposal};
use pad_runner::consumer::middleware::{ConsumerLimits, Job, Middleware, run};
use pad_runner::runner::sealed;
use pad_runner::{Artefact, Cache, CacheKey, Role, component};
use zeroize::Zeroizing;

#[path = "../tests/sandbox/programs.rs"]
#[allow(dead_code)]
mod programs;

/// Rounds of each figure.
const ROUNDS: usize = 20;
/// Reads of one run.
const READS: u32 = 2_000_000;
/// Calls of an engine in one round.
const CALLS: u32 = 200;
/// Bytes of each Pad's data.
const DATA_BYTES: u64 = 1 << 20;

fn main() {
    let read = read_of_64_bytes();
    println!("read of 64 bytes of an open dataset from WASM     {read:>9.3} µs");
    let (cached, check) = start();
    println!("a program from the cache of compiled code         {:>9.3} ms", millis(cached));
    println!("start of its process to its first call            {:>9.3} ms", millis(check));
    println!("- a process that ends before it has a program     {:>9.3} ms", millis(process()));
    let (one, nine) = (engine(1), engine(9));
    println!("an engine that says yes at once, about 1 Pad      {:>9.3} µs", micros(one));
    println!("- about 9 Pads                                    {:>9.3} µs", micros(nine));
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn least(mut round: impl FnMut() -> Duration) -> Duration {
    (0..ROUNDS).map(|_| round()).min().expect("some rounds")
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
    fn size(&mut self, _: Pad) -> io::Result<u64> {
        Ok(DATA_BYTES)
    }

    fn data(&mut self, _: Pad, to: &mut [u8]) -> io::Result<()> {
        to.fill(1);
        Ok(())
    }

    fn contents(&self, _: Pad) -> Contents {
        Contents::default()
    }
}

fn limits() -> ConsumerLimits {
    ConsumerLimits { data_bytes: DATA_BYTES, ..programs::consumer_limits() }
}

fn run_of(program: &Artefact, watch: &mut Watch) {
    let job = Job { program, pads: 1, plain: b"", limits: limits() };
    run(&programs::runner(), &job, watch).expect("a run that ends well");
}

fn compiled(text: &str) -> Artefact {
    programs::compiler().compile(&programs::consumer(text), None).expect("a program").0
}

/// Microseconds of one read, from runs with many and with none.
fn read_of_64_bytes() -> f64 {
    let reads = |count: u32| {
        compiled(&format!(
            r#"(func (export "run") (param i32 i32)
                 (local $i i32)
                 (call $opened)
                 (loop $more
                   (global.set $free (i32.const 65536))
                   (if (i32.lt_u (local.get $i) (i32.const {count}))
                     (then
                       (call $read (i32.const 0)
                         (i64.extend_i32_u (i32.and (local.get $i) (i32.const 0xffff)))
                         (i32.const 64) (i32.const 0))
                       (local.set $i (i32.add (local.get $i) (i32.const 1)))
                       (br $more)))))"#
        ))
    };
    let (none, many) = (reads(0), reads(READS));
    let took = |program: &Artefact| {
        let begun = Instant::now();
        run_of(program, &mut Watch::default());
        begun.elapsed()
    };
    let rounds = (0..5).map(|_| took(&many).saturating_sub(took(&none)));
    micros(rounds.min().expect("some rounds")) / f64::from(READS)
}

/// Taking a program from the cache, and its start to its first call that the middleware sees.
fn start() -> (Duration, Duration) {
    let component = programs::consumer(
        r#"(func (export "run") (param i32 i32) (call $add (i32.const 0)) (drop (call $check)))"#,
    );
    let directory = tempfile::tempdir().expect("a directory");
    let cache = Cache::new(directory.path(), CacheKey::new(Zeroizing::new([1; 32])));
    let compiler = programs::compiler();
    let compile = || compiler.compile(&component, Some(&cache)).expect("a program").0;
    let program = compile();
    let cached = least(|| {
        let begun = Instant::now();
        compile();
        begun.elapsed()
    });
    let check = least(|| {
        let mut watch = Watch::default();
        let begun = Instant::now();
        run_of(&program, &mut watch);
        watch.asked.expect("a check").duration_since(begun)
    });
    (cached, check)
}

/// A process in namespaces of its own that ends at once.
fn process() -> Duration {
    let nothing = sealed(&[]).expect("memory");
    least(|| {
        let (_ours, theirs) = UnixStream::pair().expect("sockets");
        let begun = Instant::now();
        let process = programs::runner().start(Role::Probe, theirs, &nothing, 1 << 28);
        process.expect("a process").wait().expect("its end");
        begun.elapsed()
    })
}

/// A call of an engine about so many Pads.
fn engine(pads: u32) -> Duration {
    let text = format!(
        r#"(func (export "check-input") (type $input)
             (i32.store (i32.const 0) (i32.const 16))
             (i32.store (i32.const 4) (i32.const {pads}))
             (i32.const 0))"#
    );
    let component = programs::engine(&text);
    let engine = programs::engines().load(component::digest(&component), &component, None);
    let (engine, _) = engine.expect("an engine");
    let shown: Vec<_> = (0..u64::from(pads)).map(programs::pad).collect();
    let asked: Vec<_> = (0..pads).collect();
    let call = || {
        let answers = engine.check_input(&programs::run_of_one(), &shown, &asked);
        assert_eq!(answers.expect("answers").len(), pads as usize);
    };
    least(|| {
        let begun = Instant::now();
        (0..CALLS).for_each(|_| call());
        begun.elapsed() / CALLS
    })
}
