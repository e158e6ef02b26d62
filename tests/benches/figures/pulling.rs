//! An image fetched and unpacked, beside `skopeo copy` and `umoci unpack` of the same from the same
//! registry.
//!
//! Both start from nothing and end with files of the right owners; ours has also hashed every
//! archive and synced what it wrote to the disk.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use compose::ImageReference;
use container_images::{Limits, Mirror, Progress, Registries, RegistrySettings, Store, pull};
use nix::unistd::{geteuid, sync};
use protocol::digest::Sha256Digest;
use serde_json::json;
use tests::images::layer::{Layer, Packing};
use tests::images::layout;
use tests::peers;
use tests::registry::Registry;

use super::{median, row, seconds, timed};

const LAYERS: usize = 5;
/// Plain bytes of a layer: 200 MB in all.
const LAYER_BYTES: usize = 40_000_000;
/// Pulls of each kind, interleaved.
const PULLS: usize = 5;
/// Words that files are made of, so that they compress about as programs do, to half.
const SAMPLES: usize = 4096;
const FIGURE: &str = "pull and unpack, 200 MB in five layers";

/// Prints the row.
pub fn pulls() {
    if !geteuid().is_root() {
        return row(FIGURE, "only root can unpack owned files", "", None, "");
    }
    let directory = tempfile::tempdir().unwrap();
    let from = directory.path().join("image");
    let layers = (0..LAYERS).map(|number| layer(number).packed()).collect();
    layout::write(&from, layers, &json!({}), false);
    let registry = Registry::start();
    registry.push(&from, "bench", "latest");
    let digest = Sha256Digest::of(&registry.manifest("bench", "latest"));
    let image = ImageReference::parse(&format!("example.org/bench@sha256:{digest}")).unwrap();
    let runs: Vec<(Duration, Duration)> = (0..PULLS)
        .map(|_| {
            let ours = tempfile::tempdir_in(directory.path()).unwrap();
            let theirs = tempfile::tempdir_in(directory.path()).unwrap();
            // Neither waits for what others wrote before: ours syncs its file system.
            sync();
            let ours = timed(|| we_pull(&image, &registry, ours.path()));
            sync();
            (ours, timed(|| they_pull(&registry, theirs.path())))
        })
        .collect();
    let ours = median(runs.iter().map(|(ours, _)| *ours));
    let theirs = median(runs.iter().map(|(_, theirs)| *theirs));
    let peer = format!("skopeo copy and umoci unpack: {}", seconds(theirs));
    row(FIGURE, &seconds(ours), &peer, Some(ours.as_secs_f64() / theirs.as_secs_f64()), "≤ 0.50x");
}

/// Some hundred files of all sizes.
fn layer(number: usize) -> Layer {
    let mut seed = number as u64 + 1;
    let mut next = move || {
        // Knuth's MMIX generator: the same files every time.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    let samples: Vec<[u8; 7]> =
        (0..SAMPLES).map(|_| std::array::from_fn(|_| next() as u8)).collect();
    let (mut layer, mut total, mut count) = (Layer::new(Packing::Gzip), 0, 0);
    while total < LAYER_BYTES {
        // Most files are small, most bytes are in large ones.
        let size = (1 << (next() % 19 + 3)) + next() % 1000;
        let content: Vec<u8> =
            std::iter::repeat_with(|| samples[next() % SAMPLES]).flatten().take(size).collect();
        layer = layer.file(&format!("layer-{number}/{}/{count}", count / 50), 0o644, &content);
        (total, count) = (total + size, count + 1);
    }
    layer
}

fn we_pull(image: &ImageReference, registry: &Registry, directory: &Path) {
    let settings = RegistrySettings {
        mirrors: vec![Mirror::parse(&registry.url()).unwrap()],
        ..RegistrySettings::default()
    };
    let registries = Arc::new(Registries::new(settings).unwrap());
    let store = Arc::new(Store::open(directory).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let pulled = runtime
        .block_on(pull(image, registries, store, Limits::default(), &Progress::default()))
        .unwrap();
    assert_eq!(pulled.layers.len(), LAYERS);
}

fn they_pull(registry: &Registry, directory: &Path) {
    let address = registry.url().replace("http://", "docker://");
    let layout = format!("{}:latest", directory.join("layout").display());
    let mut copy = peers::command("skopeo");
    copy.args(["--insecure-policy", "--tmpdir"]).arg(directory).args([
        "copy",
        "--quiet",
        "--src-tls-verify=false",
    ]);
    succeeded(copy.arg(format!("{address}/bench:latest")).arg(format!("oci:{layout}")));
    succeeded(
        peers::command("umoci").args(["unpack", "--image", &layout]).arg(directory.join("bundle")),
    );
}

fn succeeded(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
