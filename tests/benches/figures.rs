//! Measures what `docs/performance.md` states, each figure beside its peer, in one run: `cargo
//! xtask bench [NAME …]`.
//!
//! Peers are interleaved with what they are compared with, so that both have the same machine in
//! the same minute; medians are printed. With `DSTYX_LONG` the hermetic builds are timed too.

#![allow(clippy::unwrap_used)] // a figure that cannot be had ends the run

use std::env;
use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use protocol::handover::AGENT_PORT;
use protocol::image::Flavour;
use tests::dstyx::User;
use tests::guest::Guest;
use tests::lab;

#[path = "figures/api.rs"]
mod api;
#[path = "figures/boots.rs"]
mod boots;
#[path = "figures/bridge.rs"]
mod bridge;
#[path = "figures/busybox.rs"]
mod busybox;
#[path = "figures/delegator.rs"]
mod delegator;
#[path = "figures/disks.rs"]
mod disks;
#[path = "figures/healthy.rs"]
mod healthy;
#[path = "figures/keys.rs"]
mod keys;
#[path = "../support/loopback_kms.rs"]
mod loopback_kms;
#[path = "figures/opening.rs"]
mod opening;
#[path = "figures/predictions.rs"]
mod predictions;
#[path = "figures/pulling.rs"]
mod pulling;
#[path = "figures/sealing.rs"]
mod sealing;
#[path = "figures/starting.rs"]
mod starting;
#[path = "figures/verification.rs"]
mod verification;

/// Where the example listens.
const HELLO_PORT: u16 = 8080;

/// What can be measured by itself, by name, in the order of the table.
const FIGURES: [(&str, fn()); 18] = [
    ("sizes", sizes),
    ("boots", boots::boots),
    ("calls", api::calls),
    ("memory", api::memory),
    ("predictions", predictions::predictions),
    ("verification", verification::verifications),
    ("verdicts", predictions::verdicts),
    ("search", predictions::hopeless_search),
    ("bridge", bridge::bridges),
    ("disks", disks::disks),
    ("keys", keys::keys),
    ("opening", opening::openings),
    ("sealing", sealing::sealing),
    ("delegator", delegator::delegator),
    ("pull", pulling::pulls),
    ("start", starting::starts),
    ("healthy", healthy::starts),
    ("rebuilds", rebuilds),
];

fn main() -> ExitCode {
    // What is not built yet is built in a sandbox, whose first process is this program again.
    if let Some(code) = reproducible_build::sandbox::run_if_child() {
        return code;
    }
    if env::args().nth(1).as_deref() == Some(delegator::ROLE) {
        return delegator::serve();
    }
    // `cargo bench` adds an option of its own.
    let names: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let known = |name: &String| FIGURES.iter().any(|(known, _)| known == name);
    if let Some(unknown) = names.iter().find(|name| !known(name)) {
        eprintln!(
            "error: there is no figure {unknown:?}; there are {}",
            FIGURES.map(|(name, _)| name).join(", ")
        );
        return ExitCode::FAILURE;
    }
    println!("Machine: {}\n", machine());
    println!("| figure | value | beside it | ratio | aim |\n|---|---|---|---|---|");
    for (name, measure) in FIGURES {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            eprintln!("measuring {name} …");
            measure();
        }
    }
    ExitCode::SUCCESS
}

/// The image that is measured.
fn image() -> PathBuf {
    lab::image(Flavour::Dev)
}

/// One line of the table; `aim` as the reader shall see it.
fn row(figure: &str, value: &str, peer: &str, ratio: Option<f64>, aim: &str) {
    let ratio = ratio.map(|ratio| format!("{ratio:.2}x")).unwrap_or_default();
    println!("| {figure} | {value} | {peer} | {ratio} | {aim} |");
}

fn sizes() {
    let image = image();
    let bytes = |name: &str| fs::metadata(image.join(name)).unwrap().len() as f64 / 1e6;
    for name in ["firmware.fd", "kernel", "initrd"] {
        row(name, &format!("{:.1} MB", bytes(name)), "", None, "");
    }
    row(
        "kernel and initrd",
        &format!("{:.1} MB", bytes("kernel") + bytes("initrd")),
        "",
        None,
        "≤ 30 MB",
    );
}

/// Age of the guest when it first answered.
fn answered(guest: &Guest, port: u16, path: &str) -> Duration {
    while guest.get(port, path).is_none() {
        assert!(guest.age() < Duration::from_secs(180), "nothing answers:\n{}", guest.console());
        std::thread::sleep(Duration::from_millis(5));
    }
    guest.age()
}

/// A second, uncached build of each part and its comparison; the first is in the cache.
fn rebuilds() {
    for part in ["examples", "initrd", "firmware", "kernel"] {
        let figure = format!("hermetic rebuild of {part}");
        if !lab::long() {
            row(&figure, "measured with DSTYX_LONG=1", "", None, "");
            continue;
        }
        let started = Instant::now();
        let answer = User::default().dstyx(["rebuild", "--only", part]);
        let verdict = if answer.code == 0 { "every byte equal" } else { "DIFFERENT" };
        row(&figure, &seconds(started.elapsed()), verdict, None, "");
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let started = Instant::now();
    black_box(work());
    started.elapsed()
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<_> = times.collect();
    times.sort();
    times[times.len() / 2]
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Processor, cores, kernel and load: what a reader needs to compare.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    format!(
        "{}, {cores} cores, Linux {}, load {}, QEMU {} (TCG)",
        model.map_or("unknown processor", |(_, name)| name),
        kernel.trim(),
        load.split(' ').next().unwrap_or_default(),
        lab::qemu().version
    )
}
