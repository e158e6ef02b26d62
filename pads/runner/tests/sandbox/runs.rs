//! Runs of consumers: what they get, what leaves, and what remains of them.

use std::path::Path;
use std::time::{Duration, Instant};

use pad_run::{MAX_PADS, Misuse};
use pad_runner::consumer::Compiler;
use pad_runner::consumer::middleware::{ConsumerLimits, Job, RunError, run};
use pad_runner::runner::RunnerError;
use pad_runner::{Artefact, CompileLimits, Refused, Runner, Setting};

use crate::built::Permissive;
use crate::programs::{self, Hospital, consumer_limits, run_on};

fn compiled(text: &str) -> Artefact {
    let compiler = programs::compiler();
    compiler.compile(&programs::consumer(text), None).expect("a right component").0
}

#[test]
fn a_program_reads_what_was_opened_and_nothing_leaves_but_what_was_allowed() {
    let program = compiled(
        r#"(func (export "run") (param i32 i32)
             (call $opened)
             (call $read (i32.const 0) (i64.const 0) (i32.const 6) (i32.const 0))
             (if (i32.eqz (call $output (i32.load (i32.const 0)) (i32.const 6)))
               (then (unreachable))))"#,
    );
    let mut hospital = Hospital::default();
    run_on(&program, 1, consumer_limits(), &mut hospital).expect("in order");
    assert_eq!(hospital.allowed, [b"secret"]);
    assert_eq!(hospital.opened, [0]);
}

#[test]
fn each_pad_has_its_own_part_of_the_data() {
    let program = compiled(
        r#"(func (export "run") (param i32 i32)
             (call $add (i32.const 1))
             (call $add (i32.const 0))
             (if (i32.eqz (call $check)) (then (unreachable)))
             (call $open)
             (call $read (i32.const 0) (i64.const 10) (i32.const 4) (i32.const 0))
             (drop (call $output (i32.load (i32.const 0)) (i32.const 4)))
             (call $read (i32.const 1) (i64.const 10) (i32.const 4) (i32.const 0))
             (drop (call $output (i32.load (i32.const 0)) (i32.const 4))))"#,
    );
    let mut hospital = Hospital::default();
    run_on(&program, 2, consumer_limits(), &mut hospital).expect("in order");
    assert_eq!(hospital.allowed, [b"pad0", b"pad1"]);
    assert_eq!(hospital.opened, [1, 0]);
}

#[test]
fn a_handle_of_another_run_is_none_of_this_one() {
    let program = compiled(
        r#"(func (export "run") (param i32 i32)
             (call $add (i32.const 1))
             (drop (call $check)))"#,
    );
    let mut hospital = Hospital::default();
    run_on(&program, 2, consumer_limits(), &mut hospital).expect("its own Pad");
    let ended = run_on(&program, 1, consumer_limits(), &mut hospital);
    assert!(matches!(ended, Err(RunError::Misuse(Misuse::Handle))), "{ended:?}");
    assert!(hospital.opened.is_empty());
}

#[test]
fn an_output_larger_than_a_frame_arrives_whole() {
    let program = compiled(
        r#"(func (export "run") (param i32 i32)
             (call $opened)
             (drop (memory.grow (i32.const 50)))
             (i32.store8 (i32.const 3000000) (i32.const 7))
             (drop (call $output (i32.const 1) (i32.const 3000000))))"#,
    );
    let mut hospital = Hospital::default();
    run_on(&program, 1, consumer_limits(), &mut hospital).expect("in order");
    let [output] = hospital.allowed.try_into().expect("one output");
    assert_eq!((output.len(), output.last()), (3_000_000, Some(&7)));
}

#[test]
fn more_data_than_a_run_may_have_is_not_given() {
    let program = compiled(r#"(func (export "run") (param i32 i32) (call $opened))"#);
    let limits = ConsumerLimits { data_bytes: 10, ..consumer_limits() };
    let ended = run_on(&program, 1, limits, &mut Hospital::default());
    assert!(matches!(ended, Err(RunError::TooMuch(10))), "{ended:?}");
}

#[test]
fn a_run_has_a_bounded_number_of_pads() {
    let program = compiled("");
    let ended = run_on(&program, MAX_PADS + 1, consumer_limits(), &mut Hospital::default());
    assert!(matches!(ended, Err(RunError::Misuse(Misuse::Pads(_)))), "{ended:?}");
}

#[test]
fn a_program_that_never_ends_is_killed_at_its_limit() {
    let program = compiled(r#"(func (export "run") (param i32 i32) (loop $on (br $on)))"#);
    let limits = ConsumerLimits { wall: Duration::from_millis(300), ..consumer_limits() };
    let begun = Instant::now();
    let ended = run_on(&program, 1, limits, &mut Hospital::default());
    assert!(matches!(ended, Err(RunError::Wall)), "{ended:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn programs_at_the_same_time_end_each_in_its_own_way() {
    let reads = compiled(
        r#"(func (export "run") (param i32 i32)
             (call $opened)
             (call $read (i32.const 0) (i64.const 0) (i32.const 5) (i32.const 0))
             (drop (call $output (i32.load (i32.const 0)) (i32.const 5))))"#,
    );
    let loops =
        compiled(r#"(func (export "run") (param i32 i32) (call $opened) (loop $on (br $on)))"#);
    let traps = compiled(r#"(func (export "run") (param i32 i32) (call $opened) (unreachable))"#);
    let go = |program: &Artefact, data: &str, wall: Duration| {
        let mut middleware = Permissive::of(&[data.as_bytes()]);
        let limits = ConsumerLimits { wall, ..consumer_limits() };
        let job = Job { program, pads: 1, plain: b"", limits };
        let ended = run(&programs::runner(), &job, &mut middleware);
        let left: Vec<_> = middleware.outputs.into_iter().map(|(_, data)| data).collect();
        (ended.map_err(|error| error.to_string()), left)
    };
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4)
            .map(|number| {
                let (reads, loops, traps) = (&reads, &loops, &traps);
                scope.spawn(move || {
                    let data = format!("data{number}");
                    let ended = go(reads, &data, Duration::from_secs(60));
                    assert_eq!(ended, (Ok(()), vec![data.clone().into_bytes()]));
                    let (ended, left) = go(traps, &data, Duration::from_secs(60));
                    assert_eq!((ended, left.len()), (Err("the program trapped".to_owned()), 0));
                    let (ended, left) = go(loops, &data, Duration::from_secs(1));
                    assert!(ended.is_err_and(|error| error.contains("limit of time")));
                    assert_eq!(left.len(), 0);
                })
            })
            .collect();
        runs.into_iter().for_each(|run| run.join().expect("no panic"));
    });
}

#[test]
fn a_program_without_a_process_is_an_error() {
    let job = pad_runner::consumer::middleware::Job {
        program: &compiled(""),
        pads: 0,
        plain: b"",
        limits: consumer_limits(),
    };
    assert!(matches!(
        Runner::open(Path::new("/nonexistent"), Setting::Local),
        Err(RunnerError::Open(_))
    ));
    let other = Runner::open(Path::new("/bin/true"), Setting::Local).expect("a program");
    let ended = pad_runner::consumer::middleware::run(&other, &job, &mut Hospital::default());
    assert!(matches!(ended, Err(RunError::Died(None) | RunError::Stream(_))), "{ended:?}");
}

/// A component that takes long to compile: one function of so many blocks in each other.
fn costly() -> Vec<u8> {
    const BLOCKS: usize = 20_000;
    let sums = "(local.set 0 (i32.add (local.get 0) (local.get 1)))".repeat(BLOCKS);
    programs::consumer(&format!(r#"(func (export "run") (param i32 i32) {sums})"#))
}

#[test]
fn compiling_ends_at_its_limit_of_time() {
    let limits = CompileLimits { wall: Duration::from_millis(20), ..CompileLimits::CONSUMER };
    let compiler = Compiler::new(limits, programs::runner()).expect("wasmtime");
    let begun = Instant::now();
    let refused = compiler.compile(&costly(), None).err();
    assert!(matches!(refused, Some(Refused::Slow(_))), "{refused:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn compiling_ends_at_its_limit_of_memory() {
    let limits = CompileLimits { memory_bytes: 4 << 20, ..CompileLimits::CONSUMER };
    let compiler = Compiler::new(limits, programs::runner()).expect("wasmtime");
    let refused = compiler.compile(&costly(), None).err();
    assert!(matches!(refused, Some(Refused::CompilerEnded(_))), "{refused:?}");
}
