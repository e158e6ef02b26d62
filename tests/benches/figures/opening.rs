//! From the measured app to its open disk: a guest whose keys come from a KMS, in its first and in
//! its second boot, beside one that makes a key of its own.
//!
//! The KMS is a process of the host, so that one machine is emulated and not two. Times are those
//! of the guest's own records.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kms::fixtures::{Running, ask};
use protocol::app_compose::{AppFiles, KeyProvider, NewApp};
use protocol::digest::{AppId, ComposeHash};
use protocol::identity::SEED_BYTES;
use protocol::kms::{KmsImage, PutImageRequest};
use protocol::prpc::Empty;
use protocol::status::{Phase, Refusal};
use tests::guest::{DataDisk, Host};
use tests::lab;

use super::{image, keys, loopback_kms, median, row, seconds};

/// Boots of each kind, interleaved.
const BOOTS: usize = 5;
/// Bytes of the data disk.
const DISK_BYTES: u64 = 2 << 30;
/// Where the guest finds its host.
const HOST_IN_GUEST: &str = "10.0.2.2";

/// Prints two rows.
pub fn openings() {
    let (image, directory) = (&image(), tempfile::tempdir().unwrap());
    let runtime = keys::runtime();
    let (running, app) = runtime.block_on(kms(directory.path(), image));
    let host = |boot: usize| Host {
        app_compose: Some(app.clone()),
        kms_urls: vec![format!("https://{HOST_IN_GUEST}:{}", running.address.port())],
        // Each has a disk of its own, which begins empty.
        instance_seed: [u8::try_from(boot).unwrap(); SEED_BYTES],
        data_disk: DataDisk::Kept(disk(directory.path(), boot)),
        ..Host::default()
    };
    let mut runs = Vec::new();
    for boot in 0..BOOTS {
        let kept = host(boot);
        runs.push([opened(&kept, image), opened(&kept, image), opened(&Host::default(), image)]);
    }
    let [first, second, own] =
        [0, 1, 2].map(|kind: usize| median(runs.iter().map(|run| run[kind])));
    let peer = format!("a key of this boot, no KMS: {}", seconds(own));
    for (boot, took) in [("first", first), ("second", second)] {
        let figure = format!("`AppMeasured` to `DiskOpened`, keys of a KMS, {boot} boot");
        let ratio = Some(took.as_secs_f64() / own.as_secs_f64());
        row(&figure, &seconds(took), &peer, ratio, "≤ 1 s");
    }
}

/// A KMS that serves, and the measured file that it gives keys to in this image.
async fn kms(directory: &Path, image: &Path) -> (Running, Vec<u8>) {
    let running = loopback_kms::start(directory).await;
    let (files, Host { compose, .. }) = (AppFiles::new(), Host::default());
    let key_provider = KeyProvider::Kms { id: running.place.config.cluster.id() };
    let app = NewApp { key_provider, ..NewApp::of("bench", &compose, &files) }.generate().unwrap();
    let compose_hash = ComposeHash::of(&app);
    let pair = KmsImage { os_image_hash: lab::manifest(image).os_image_hash(), compose_hash };
    let app_id = AppId::from_compose_hash(&compose_hash);
    running.bootstrap(&running.place.policy_file(1, app_id, pair)).await;
    let image = fs::read_to_string(image.join("image.json")).unwrap();
    let mut owner = running.owner().await.unwrap();
    let _: Empty = ask(&mut owner, "PutImage", &PutImageRequest { image }).await.unwrap();
    (running, app)
}

/// An empty disk.
fn disk(directory: &Path, number: usize) -> PathBuf {
    let path = directory.join(format!("disk-{number}"));
    File::create(&path).unwrap().set_len(DISK_BYTES).unwrap();
    path
}

/// How long one boot took from the one phase to the other.
fn opened(host: &Host, image: &Path) -> Duration {
    let mut guest = host.start(image);
    let record = guest.reached(Phase::DiskOpened).unwrap();
    assert_eq!((record.phase, record.refusal), (Phase::DiskOpened, Refusal::None), "{record:?}");
    let measured = guest.reached(Phase::AppMeasured).unwrap();
    // What was written is on the disk, and the last anchor is this one.
    guest.reached(Phase::SystemReady).unwrap();
    guest.power_button();
    guest.ended();
    Duration::from_micros(record.uptime_micros - measured.uptime_micros)
}
