//! Kernels and libsvm's training in a consumer's process, beside the same sources by clang on the
//! host: programs that `pad_programs` built.
//!
//! There is no clock in the sandbox. So both are whole processes that do the work once and many
//! times, and the difference counts.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use pad_run::{Answer, Contents, Judge, Pad, Proposal};
use pad_runner::Artefact;
use pad_runner::consumer::middleware::{Job, Middleware, run};
use zeroize::Zeroizing;

use crate::programs;
use crate::table::{Times, row, time, timed};

/// Kernels by the names of NBench's.
const KERNELS: [&str; 10] = [
    "numeric-sort",
    "string-sort",
    "bitfield",
    "fp-emulation",
    "fourier",
    "assignment",
    "idea",
    "huffman",
    "neural-net",
    "lu-decomposition",
];
/// Training by libsvm.
const SVM: &str = "svm";
/// How long the host's program shall work in one round.
const ROUND: Duration = Duration::from_millis(150);
/// Rounds, each of both programs.
const ROUNDS: usize = 7;

/// Prints a row for each kernel, their geometric mean, and training.
pub fn kernels() {
    let program = programs::compiled(&programs::component("kernels"));
    let mut logarithms = 0.0;
    for kernel in KERNELS {
        let ratio = compare(&program, &format!("{kernel}, after NBench's"), kernel, b"", "");
        logarithms += ratio.ln();
    }
    let mean = (logarithms / KERNELS.len() as f64).exp();
    let figure = "ten kernels after NBench's, geometric mean";
    row(figure, "", "the paper: 2.2x", Some(mean), "≤ 1.40x");
    let rows = programs::table();
    let with_svm = compare(&program, "training by libsvm, 569 rows", SVM, rows.as_bytes(), "");
    let mean = ((logarithms + with_svm.ln()) / (KERNELS.len() + 1) as f64).exp();
    row("the same with training by libsvm", "", "", Some(mean), "≤ 1.40x");
}

/// Prints the row of a kernel; how many times as long it takes in the sandbox.
fn compare(program: &Artefact, figure: &str, kernel: &str, data: &[u8], aim: &str) -> f64 {
    let input = |rounds: u32| [format!("{kernel} {rounds}\n").as_bytes(), data].concat();
    let rounds = enough(&input);
    let (few, many) = (input(1), input(rounds));
    let measured = (0..ROUNDS).map(|_| {
        let ((native, one), (_, once)) = (timed(|| native(&many)), timed(|| native(&few)));
        let ((found, other), (_, other_once)) =
            (timed(|| sandboxed(program, &many)), timed(|| sandboxed(program, &few)));
        assert_eq!(found, native, "{kernel}");
        (one.saturating_sub(once), other.saturating_sub(other_once))
    });
    let measured: Vec<_> = measured.collect();
    let (ours, theirs) = (
        Times::of(measured.iter().map(|pair| pair.1)),
        Times::of(measured.iter().map(|pair| pair.0)),
    );
    let each = |times: &Times| time(times.median() / (rounds - 1));
    let ratios = Times::of(measured.iter().map(|(native, sandboxed)| {
        Duration::from_secs_f64(sandboxed.as_secs_f64() / native.as_secs_f64())
    }));
    let ratio = ratios.median().as_secs_f64();
    row(figure, &each(&ours), &format!("clang -O2: {}", each(&theirs)), Some(ratio), aim);
    ratio
}

/// So many rounds that the host's program works long enough.
fn enough(input: &impl Fn(u32) -> Vec<u8>) -> u32 {
    let (_, once) = timed(|| native(&input(1)));
    let mut rounds = 8;
    loop {
        let (_, took) = timed(|| native(&input(rounds)));
        if took.saturating_sub(once) * 2 > ROUND {
            let each = took.saturating_sub(once).as_secs_f64() / f64::from(rounds - 1);
            return 1 + (ROUND.as_secs_f64() / each).ceil() as u32;
        }
        rounds *= 2;
    }
}

/// The checksum of the host's program.
fn native(input: &[u8]) -> Vec<u8> {
    let mut program = Command::new(programs::path("native-kernels"));
    program.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = program.spawn().expect("a program");
    process.stdin.take().expect("piped").write_all(input).expect("it reads all");
    let output = process.wait_with_output().expect("its end").stdout;
    output.trim_ascii_end().to_vec()
}

/// The same in a consumer's process, with the limits of a run.
fn sandboxed(program: &Artefact, input: &[u8]) -> Vec<u8> {
    let mut sum = Sum::default();
    let job = Job { program, pads: 1, plain: input, limits: programs::limits() };
    run(&programs::runner(), &job, &mut sum).expect("a run that ends well");
    sum.0
}

/// Allows the one output.
#[derive(Default)]
struct Sum(Vec<u8>);

impl Judge for Sum {
    fn dataset(&mut self, _: &[Pad]) -> Answer {
        Answer::Allowed
    }

    fn output(&mut self, _: &[Pad], _: Proposal, data: Zeroizing<Vec<u8>>) -> Answer {
        self.0 = data.to_vec();
        Answer::Allowed
    }
}

impl Middleware for Sum {
    fn size(&mut self, _: Pad) -> std::io::Result<u64> {
        Ok(1)
    }

    fn data(&mut self, _: Pad, _: &mut [u8]) -> std::io::Result<()> {
        Ok(())
    }

    fn contents(&self, _: Pad) -> Contents {
        Contents::default()
    }
}
