//! What it takes to get keys of Pads from a key delegator: a KMS in a process of its own, on a core
//! of its own, and a guest's middleware on the other one, over loopback. Quotes are the emulator's.
//!
//! The shares of both sides are written to a file, from which `cargo xtask sim delegators` goes on;
//! so is what many consumers had to wait for at one point, which the simulation has to meet.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use attestation::TrustAnchor;
use attestation::kms::{Accepts, KmsRules, VerifiedKms};
use channel::calls::Caller;
use kms::fixtures::{PadOwner, Running, ask, connect};
use kms_rules::policy::Instances;
use protocol::channel::Role;
use protocol::digest::{ReportData, Sha256Digest};
use protocol::kms::{FetchKeysRequest, FetchKeysResponse, KmsImage};
use protocol::prpc::Empty;
use tests::emulated::{self, Emulated};
use tests::lab;
use tokio::runtime::{Builder, Runtime};

use super::keys::{self, on_core};
use super::{loopback_kms, machine, median, row, timed};

/// The argument that makes the program a key delegator.
pub const ROLE: &str = "delegator";
/// Seeds of the custodians, and how many Pads each of them has.
const CUSTODIANS: [([u8; 32], u8); 3] = [([0x61; 32], 255), ([0x62; 32], 3), ([0x63; 32], 3)];
/// Channels, and calls of each kind.
const ROUNDS: usize = 101;
/// Pads of one call: one, those of the paper's run, and many.
const PADS: [u8; 3] = [1, 9, 255];
/// The point at which the simulation is checked: so many consumers, each with so many Pads.
const CONSUMERS: usize = 16;
const PADS_OF_EACH: u8 = 64;
/// Rounds of it.
const CHECKS: usize = 5;
/// Cores of the two sides.
const CONSUMER_CORE: usize = 0;
const DELEGATOR_CORE: usize = 1;

/// Prints the rows and writes the file.
pub fn delegator() {
    let delegator = Delegator::start();
    on_core(CONSUMER_CORE, || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(measure(&delegator));
    });
}

async fn measure(delegator: &Delegator) {
    let quotes = (0..ROUNDS).map(|_| timed(|| delegator.app.evidence(ReportData([1; 64]))));
    let quote = median(quotes);
    let channel = delegator.cost(async || drop(delegator.channel(0).await)).await;
    row("quote of the emulator's library, two a channel", &shown(quote), "", None, "");
    row(
        "attested channel of middleware, from TCP to both verdicts",
        &shown(channel.wall),
        &format!("the consumer's share: {}", shown(channel.consumer)),
        None,
        "",
    );
    let mut caller = delegator.channel(0).await;
    let mut fetches = Vec::new();
    for pads in PADS {
        let request = delegator.fetch(pads);
        let fetch = delegator.cost(async || fetch(&mut caller, &request).await).await;
        let figure = format!("keys of {pads} Pads in one call, ledger on the disk");
        let peer = format!("the consumer's share: {}", shown(fetch.consumer));
        row(&figure, &shown(fetch.wall), &peer, None, "");
        fetches.push(fetch);
    }
    let mut waits = Vec::new();
    for _ in 0..CHECKS {
        waits.push(delegator.many().await);
    }
    let wait = median(waits.into_iter());
    let figure = format!("{CONSUMERS} consumers at once, {PADS_OF_EACH} Pads each: a Pad's wait");
    row(&figure, &shown(wait), "", None, "");
    let text = latencies(quote, &channel, &fetches, wait);
    let path = lab::checkout().join("target/bench/delegator.toml");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// The file: microseconds, of which what grows with the Pads is stated for each of them.
fn latencies(quote: Duration, channel: &Cost, fetches: &[Cost], wait: Duration) -> String {
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let (one, many) = (&fetches[0], &fetches[fetches.len() - 1]);
    let more = f64::from(PADS[PADS.len() - 1] - PADS[0]);
    let each = |of: fn(&Cost) -> Duration| (micros(of(many)) - micros(of(one))).max(0.0) / more;
    let (wall, consumer) = (each(|cost| cost.wall), each(|cost| cost.consumer));
    let mut text = format!("# Measured by `cargo xtask bench pads`: {}\n", machine());
    let lines = [
        ("quote", micros(quote)),
        ("channel_consumer", micros(channel.consumer)),
        ("channel_delegator", micros(channel.delegator)),
        ("channel_wait", micros(channel.wait())),
        ("fetch_consumer", micros(one.consumer) - consumer),
        ("fetch_consumer_pad", consumer),
        ("fetch_delegator", micros(one.wall) - micros(one.consumer) - (wall - consumer)),
        ("fetch_delegator_pad", wall - consumer),
        ("check_consumers", CONSUMERS as f64),
        ("check_pads", f64::from(PADS_OF_EACH)),
        ("check_pad_wait", micros(wait)),
    ];
    for (name, value) in lines {
        writeln!(text, "{name} = {value:.2}").unwrap();
    }
    text
}

fn shown(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

/// What some work took: by the clock, and of the processor's time of both sides.
struct Cost {
    wall: Duration,
    consumer: Duration,
    delegator: Duration,
}

impl Cost {
    /// What is no work of either side.
    fn wait(&self) -> Duration {
        self.wall.saturating_sub(self.consumer + self.delegator)
    }
}

/// A key delegator in a process of its own, and its client.
struct Delegator {
    process: Child,
    address: SocketAddr,
    key_provider_id: Sha256Digest,
    app: Emulated,
}

impl Delegator {
    fn start() -> Self {
        let mut program = Command::new(std::env::current_exe().unwrap());
        program.arg(ROLE).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = program.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let (address, key_provider_id) = line.trim().split_once(' ').unwrap();
        let key_provider_id = hex::decode(key_provider_id).unwrap().try_into().unwrap();
        Self {
            process,
            address: address.parse().unwrap(),
            key_provider_id: Sha256Digest(key_provider_id),
            app: app(),
        }
    }

    /// An attested channel of another instance of the app.
    async fn channel(&self, instance: usize) -> Caller<VerifiedKms> {
        let mut guest = self.app.clone();
        guest.instance = u8::try_from(instance).unwrap();
        let rules = KmsRules {
            key_provider_id: self.key_provider_id,
            anchor: TrustAnchor::DangerEmulated(emulated::root()),
            accepts: Accepts::Listed { minimum_version: 1 },
            minimum_evaluation_number: None,
        };
        connect(self.address, (Role::Pads, guest), rules).await.unwrap()
    }

    /// Asks for keys of so many Pads; those of the paper's run have three custodians.
    fn fetch(&self, pads: u8) -> FetchKeysRequest {
        let owners = CUSTODIANS.map(|(seed, _)| PadOwner { seed, ..self.owner() });
        let mut request = owners[0].fetch(&[], 0);
        request.pads = match pads {
            9 => owners
                .iter()
                .flat_map(|owner| (0..3).map(move |number| owner.named(number)))
                .collect(),
            pads => (0..pads).map(|number| owners[0].named(number)).collect(),
        };
        request
    }

    fn owner(&self) -> PadOwner {
        PadOwner { seed: CUSTODIANS[0].0, key_provider_id: self.key_provider_id }
    }

    /// Medians by the clock, means of the processor's time.
    async fn cost(&self, mut work: impl AsyncFnMut()) -> Cost {
        work().await;
        let before = [busy(std::process::id()), busy(self.process.id())];
        let mut walls = Vec::new();
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            work().await;
            walls.push(begun.elapsed());
        }
        let each = |before, now: Duration| now.saturating_sub(before) / ROUNDS as u32;
        Cost {
            wall: median(walls.into_iter()),
            consumer: each(before[0], busy(std::process::id())),
            delegator: each(before[1], busy(self.process.id())),
        }
    }

    /// Many consumers at once, each with its own channel: how long a Pad's key took in the mean.
    async fn many(&self) -> Duration {
        let request = &self.fetch(PADS_OF_EACH);
        let consumers = (0..CONSUMERS).map(|instance| async move {
            let begun = Instant::now();
            let mut caller = self.channel(instance + 1).await;
            fetch(&mut caller, request).await;
            begun.elapsed() / u32::from(PADS_OF_EACH)
        });
        let waits = all(consumers.map(Box::pin).collect()).await;
        waits.iter().sum::<Duration>() / CONSUMERS as u32
    }
}

impl Drop for Delegator {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait(); // it ends with its standard input
    }
}

/// Results of futures that run in turns on this thread.
async fn all<F: Future + Unpin>(mut futures: Vec<F>) -> Vec<F::Output> {
    let mut done: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in futures.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(output) = std::pin::Pin::new(future).poll(context)
            {
                *done = Some(output);
            }
        }
        match done.iter().all(Option::is_some) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

async fn fetch(caller: &mut Caller<VerifiedKms>, request: &FetchKeysRequest) {
    let mut request_id = vec![0; 16];
    getrandom::fill(&mut request_id).unwrap();
    let request = FetchKeysRequest { request_id, ..request.clone() };
    let answer: FetchKeysResponse = ask(caller, "FetchKeys", &request).await.unwrap();
    assert_eq!(answer.keys.len(), request.pads.len());
}

/// The app whose middleware asks.
fn app() -> Emulated {
    let mut app = Emulated::new("app", false);
    app.ready = true;
    app
}

/// Processor time of all threads of a process.
fn busy(process: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let of = |task: PathBuf| {
        let text = fs::read_to_string(task.join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(tasks.filter_map(|task| of(task.ok()?.path())).sum())
}

/// The delegator's process, until its standard input ends.
pub fn serve() -> ExitCode {
    on_core(DELEGATOR_CORE, || {
        let runtime: Runtime = keys::runtime();
        let directory = tempfile::tempdir().unwrap();
        let running = runtime.block_on(loopback_kms::start(directory.path()));
        runtime.block_on(prepare(&running));
        println!("{} {}", running.address, hex::encode(running.place.config.cluster.id().0));
        let _ = std::io::stdin().read_to_end(&mut Vec::new()); // its end is all that counts
    });
    ExitCode::SUCCESS
}

/// A policy that names the app and the custodians, and the keys of all Pads.
async fn prepare(running: &Running) {
    let app = app();
    let os_image_hash = emulated::os_image_hash();
    let pair = KmsImage { os_image_hash, compose_hash: app.compose_hash() };
    let key_provider_id = running.place.config.cluster.id();
    let owners = CUSTODIANS.map(|(seed, pads)| (PadOwner { seed, key_provider_id }, pads));
    let mut policy = running.place.policy_file(1, app.app_id(), pair);
    policy.apps[0].instances = Instances::Number(256);
    policy.pad_custodians = owners.iter().map(|(owner, _)| owner.key()).collect();
    policy.pad_custodians.sort();
    running.bootstrap(&policy).await;
    for (owner, pads) in owners {
        let mut custodian = running.custodian(owner.seed).await.unwrap();
        let _: Empty = ask(&mut custodian, "Enrol", &owner.enrolment()).await.unwrap();
        for number in 0..pads {
            let push = owner.push(number, os_image_hash, (app.app_id(), app.compose_hash()));
            let _: Empty = ask(&mut custodian, "PushKey", &push).await.unwrap();
        }
    }
}
