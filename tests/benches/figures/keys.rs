//! A KMS of one process and the guests that ask it for keys, on loopback: real TLS, channels and
//! judgements, and quotes of the emulator's library.
//!
//! Beside a channel stands the bare cost of what it is made of: a TLS handshake of the same kind,
//! and two quotes that are made by the same library and verified by dcap-qvl alone.

use std::hint::black_box;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use kms::fixtures::{Running, ask};
use kms_rules::Root;
use kms_rules::derivation::{EpochRoot, app_key_signed};
use kms_rules::policy::Instances;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use protocol::digest::{AppId, InstanceId};
use protocol::kms::{AppKeyResponse, GetAppKeyRequest, KmsImage};
use tempfile::TempDir;
use tests::emulated::{self, Emulated};
use tokio::runtime::Runtime;

use bare::Bare;

use super::{loopback_kms, median, milliseconds, row};

#[path = "keys/bare.rs"]
mod bare;

/// Channels of each kind, interleaved.
const CHANNELS: usize = 101;
/// Clients whose waits are measured.
const CLIENTS: [usize; 3] = [1, 16, 128];
/// How long each kind of work is done without a pause.
const BURST: Duration = Duration::from_secs(4);
/// A file system in memory.
const MEMORY: &str = "/dev/shm";

/// Prints all rows.
pub fn keys() {
    on_one_core(|| runtime().block_on(channels()));
    waits();
    on_one_core(derivations);
}

/// A KMS that serves, and a guest that its policy names.
struct Stage {
    running: Running,
    app: Emulated,
    _directory: TempDir,
}

impl Stage {
    /// One that stores in this directory.
    async fn in_directory(parent: &Path) -> Self {
        let directory = tempfile::tempdir_in(parent).unwrap();
        let running = loopback_kms::start(directory.path()).await;
        let app = Emulated::new("app", false);
        let os_image_hash = emulated::os_image_hash();
        let pair = KmsImage { os_image_hash, compose_hash: app.compose_hash() };
        let mut policy = running.place.policy_file(1, app.app_id(), pair);
        policy.apps[0].instances = Instances::Number(256);
        running.bootstrap(&policy).await;
        Self { running, app, _directory: directory }
    }

    /// Another instance of the app.
    fn instance(&self, number: usize) -> Emulated {
        let mut other = self.app.clone();
        other.instance = u8::try_from(number).unwrap();
        other
    }

    /// How long each call took of instances that ask for their keys without a pause.
    async fn calls(&self, clients: usize) -> Vec<Duration> {
        let mut open = Vec::new();
        for number in 0..clients {
            open.push(self.running.guest(&self.instance(number)).await.unwrap());
        }
        let begun = Instant::now();
        let asking = open.into_iter().map(|mut caller| {
            tokio::spawn(async move {
                let mut waits = Vec::new();
                while begun.elapsed() < BURST {
                    let (asked, request) = (Instant::now(), GetAppKeyRequest::default());
                    let keys: AppKeyResponse =
                        ask(&mut caller, "GetAppKey", &request).await.unwrap();
                    waits.push(asked.elapsed());
                    assert_eq!(keys.disk_crypt_key.len(), 64);
                }
                waits
            })
        });
        let asking: Vec<_> = asking.collect();
        let mut waits = Vec::new();
        for client in asking {
            waits.extend(client.await.unwrap());
        }
        waits
    }

    /// All that a boot asks for: a channel, and the keys.
    async fn keys_over_a_channel_of_their_own(&self) {
        let mut caller = self.running.guest(&self.app).await.unwrap();
        let request = GetAppKeyRequest::default();
        let keys: AppKeyResponse = ask(&mut caller, "GetAppKey", &request).await.unwrap();
        assert_eq!(keys.disk_crypt_key.len(), 64);
    }
}

/// One channel, and as many as one core can open.
async fn channels() {
    let stage = Stage::in_directory(Path::new(MEMORY)).await;
    let bare = Bare::start(&stage.app).await;
    let mut runs = Vec::new();
    for _ in 0..CHANNELS {
        let begun = Instant::now();
        let channel = stage.running.guest(&stage.app).await.unwrap();
        let ours = begun.elapsed();
        drop(channel);
        let begun = Instant::now();
        bare.once().await;
        runs.push((ours, begun.elapsed()));
    }
    let ours = median(runs.iter().map(|(ours, _)| *ours));
    let theirs = median(runs.iter().map(|(_, theirs)| *theirs));
    let peer = format!("TLS handshake, two quotes: {}", milliseconds(theirs));
    let ratio = Some(ours.as_secs_f64() / theirs.as_secs_f64());
    row("one attested channel, one core", &milliseconds(ours), &peer, ratio, "≤ 1.30x");

    let ours = rate(async || stage.keys_over_a_channel_of_their_own().await).await;
    let theirs = rate(async || bare.once().await).await;
    let peer = format!("TLS handshakes with two quotes: {theirs:.0}");
    let figure = "app keys a second, one core, each over its own channel";
    row(figure, &format!("{ours:.0}"), &peer, Some(theirs / ours), "≤ 1.30x");
}

/// How often a second some work is done that four clients ask for, so that the core is never idle.
async fn rate(work: impl AsyncFn()) -> f64 {
    let begun = Instant::now();
    let client = async || {
        let mut count = 0_u32;
        while begun.elapsed() < BURST {
            work().await;
            count += 1;
        }
        count
    };
    let (a, b, c, d) = tokio::join!(client(), client(), client(), client());
    f64::from(a + b + c + d) / begun.elapsed().as_secs_f64()
}

/// How long a guest waits for its keys while others ask too, over channels that are open: with the
/// ledger on this machine's disk, and in memory.
fn waits() {
    let disk = std::env::temp_dir();
    let [on_disk, in_memory] = [&disk, Path::new(MEMORY)].map(|parent| {
        runtime().block_on(async {
            let stage = Stage::in_directory(parent).await;
            let mut waits = Vec::new();
            for clients in CLIENTS {
                waits.push(shown(&mut stage.calls(clients).await));
            }
            waits
        })
    });
    for (clients, (disk, memory)) in CLIENTS.iter().zip(on_disk.iter().zip(&in_memory)) {
        let figure = format!("GetAppKey, {clients} clients at a time: p50 / p99");
        row(&figure, disk, &format!("ledger in memory: {memory}"), None, "");
    }
}

/// Two percentiles.
fn shown(waits: &mut [Duration]) -> String {
    waits.sort();
    let percentile = |percent: usize| milliseconds(waits[(waits.len() - 1) * percent / 100]);
    format!("{} / {}", percentile(50), percentile(99))
}

/// Keys from a root, without a call for them.
fn derivations() {
    let root = EpochRoot::new(&Root::generate().unwrap(), None);
    let signer = root.root_k256();
    let instance = InstanceId([7; 20]);
    let disk = each(|app_id| {
        black_box(root.disk_key(app_id, Some(&instance)));
    });
    let all = each(|app_id| {
        black_box((root.disk_key(app_id, Some(&instance)), root.environment_key(app_id).unwrap()));
        let app_key = root.app_k256(app_id).unwrap();
        black_box(app_key_signed(&signer, app_id, app_key.verifying_key()));
    });
    row("disk keys derived a second, one core", &format!("{disk:.0}"), "", None, "");
    let figure = "all keys of an app derived and signed a second, one core";
    row(figure, &format!("{all:.0}"), "", None, "");
}

/// How often a second something is done, each time for another app.
fn each(work: impl Fn(&AppId)) -> f64 {
    let (begun, mut count) = (Instant::now(), 0_u32);
    while begun.elapsed() < BURST {
        let mut app_id = AppId([0; 20]);
        app_id.0[..4].copy_from_slice(&count.to_le_bytes());
        work(&app_id);
        count += 1;
    }
    f64::from(count) / begun.elapsed().as_secs_f64()
}

/// Work on a thread that has one core, as have the threads that it makes.
pub fn on_one_core(work: impl FnOnce() + Send) {
    on_core(0, work);
}

/// The same on the core of this number.
pub fn on_core(number: usize, work: impl FnOnce() + Send) {
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut core = CpuSet::new();
            core.set(number).unwrap();
            sched_setaffinity(Pid::from_raw(0), &core).unwrap();
            work();
        });
    });
}

/// As many threads as a KMS has.
pub fn runtime() -> Runtime {
    Runtime::new().unwrap()
}
