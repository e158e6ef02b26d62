//! `cargo xtask sim`: what no machine here is large enough to show, from what was measured.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::command;
use latencies::Latencies;
use model::{Load, simulate};

mod latencies;
mod model;
mod plot;

/// Pads of each consumer.
const PADS: [u32; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
/// Consumers, all of which come within the same second.
const CONSUMERS: [u32; 4] = [1, 16, 128, 512];
/// Delegators behind the dispatcher.
const POOLS: [u32; 3] = [1, 4, 16];
/// Runs of one point, each with other times of arrival.
const SEEDS: u64 = 5;

/// Options of `sim`.
#[derive(Debug, Args)]
pub struct Sim {
    /// Which simulation.
    #[arg(value_enum)]
    subject: Subject,
    /// Measured latencies, as `cargo xtask bench pads` leaves them
    /// [default: target/bench/delegator.toml].
    #[arg(long, value_name = "FILE")]
    latencies: Option<PathBuf>,
    /// Directory for delegators.md and delegators.svg [default: docs].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// The simulations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// Consumers that get keys of Pads from a pool of key delegators.
    Delegators,
}

/// Simulates all points, and writes the table and the plot; says how many points there are.
pub fn run(options: &Sim) -> Result<usize, String> {
    let Subject::Delegators = options.subject;
    let root = command::root();
    let path =
        options.latencies.clone().unwrap_or_else(|| root.join("target/bench/delegator.toml"));
    let text = std::fs::read_to_string(&path).map_err(|error| {
        format!("{}: {error}; `cargo xtask bench pads` measures latencies", path.display())
    })?;
    let latencies = Latencies::parse(&text)?;
    let pools: Vec<_> = POOLS.iter().map(|pool| curves(&latencies, *pool)).collect();
    let table = table(&latencies, &pools);
    println!("{table}");
    let out = options.out.clone().unwrap_or_else(|| root.join("docs"));
    write(&out.join("delegators.md"), &page(&table))?;
    let plot = plot::plot(&POOLS.map(delegators), &pools, &PADS);
    write(&out.join("delegators.svg"), &plot)?;
    Ok(pools.len() * CONSUMERS.len() * PADS.len())
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// How long the keys of each Pad took in the mean, for each number of Pads.
pub struct Curve {
    /// Which consumers.
    pub name: String,
    /// Milliseconds.
    pub millis: Vec<f64>,
}

fn curves(latencies: &Latencies, delegators: u32) -> Vec<Curve> {
    let curve = |consumers: &u32| {
        let point = |pads: &u32| {
            let load = Load { consumers: *consumers, pads: *pads, delegators, ..Load::default() };
            let waits = (1..=SEEDS).map(|seed| simulate(latencies, &load, seed).pad_wait_micros());
            waits.sum::<f64>() / SEEDS as f64 / 1e3
        };
        let name =
            if *consumers == 1 { "1 consumer".into() } else { format!("{consumers} consumers") };
        Curve { name, millis: PADS.iter().map(point).collect() }
    };
    CONSUMERS.iter().map(curve).collect()
}

fn delegators(count: u32) -> String {
    if count == 1 { "1 delegator".into() } else { format!("{count} delegators") }
}

fn page(table: &str) -> String {
    format!(
        "# Key delegators under load\n\nWritten by `cargo xtask sim delegators`; \
         [performance.md](performance.md#key-delegators-under-load) says what is simulated.\n\n\
         ![a Pad's wait by the number of Pads, for three pools](delegators.svg)\n\n{table}"
    )
}

fn table(latencies: &Latencies, pools: &[Vec<Curve>]) -> String {
    let mut text = format!("Latencies: {}.\n\n", latencies.source);
    text += &format!("{}\n\n", check(latencies));
    text += "Milliseconds until a Pad's key is there, in the mean:\n\n| Pads of each |";
    for pool in POOLS {
        for curve in &pools[0] {
            text += &format!(" {}, {} |", delegators(pool), curve.name);
        }
    }
    text += &format!("\n|---|{}\n", "---:|".repeat(POOLS.len() * CONSUMERS.len()));
    for (place, pads) in PADS.iter().enumerate() {
        text += &format!("| {pads} |");
        for curve in pools.iter().flatten() {
            text += &format!(" {} |", digits(curve.millis[place]));
        }
        text += "\n";
    }
    text
}

fn digits(millis: f64) -> String {
    if millis < 10.0 { format!("{millis:.2}") } else { format!("{millis:.0}") }
}

/// The point that was measured with real processes: all consumers come at once and share a core.
fn check(latencies: &Latencies) -> String {
    let (consumers, pads) = (latencies.check_consumers as u32, latencies.check_pads as u32);
    let load = Load { consumers, pads, delegators: 1, consumer_cores: 1, spread_micros: 0.0 };
    let simulated = simulate(latencies, &load, 1).pad_wait_micros() / 1e3;
    let measured = latencies.check_pad_wait / 1e3;
    let apart = (simulated / measured - 1.0) * 100.0;
    format!(
        "Checked against real processes, {consumers} consumers on one core with {pads} Pads each, \
         one delegator on another: {simulated:.3} ms a Pad simulated, {measured:.3} ms measured \
         ({apart:+.0} %)."
    )
}
