//! Promise: an image that was half pulled when its puller was killed is redone, and never run.
//!
//! The puller is this very test program, started again with a place to pull into.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use compose::ImageReference;
use container_images::{Limits, Mirror, Progress, Registries, Store, pull};

use crate::image::{Archive, Blobs, gzip};
use crate::registry::{Behaviour, Certificate, Server, blob, listen, mirrored};
use crate::root;

/// Tells the child its directory, mirror and image.
const CHILD: &str = "DSTYX_TEST_KILLED_PULL";
const FILES: usize = 2000;

fn pull_into(directory: &Path, mirror: &str, image: &str) -> Result<(), String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        let registries = Registries::new(mirrored(vec![Mirror::parse(mirror).expect("address")]))
            .expect("mirror");
        let store = Arc::new(Store::open(directory).map_err(|error| error.to_string())?);
        let image = ImageReference::parse(image).expect("reference");
        let pulled =
            pull(&image, Arc::new(registries), store, Limits::default(), &Progress::default())
                .await;
        let pulled = pulled.map_err(|error| error.to_string())?;
        assert_eq!(pulled.layers.len(), 2);
        for layer in &pulled.layers {
            assert_eq!(layer.join("d").read_dir().expect("layer").count(), FILES);
        }
        Ok(())
    })
}

/// Two layers of many files, the second of which comes at `bytes_per_ms`.
fn slow_registry(bytes_per_ms: usize) -> (Server, String) {
    let mut blobs = Blobs::default();
    let layers = [b"1", b"2"].map(|content| {
        let archive = (0..FILES)
            .fold(Archive::default().directory("d/"), |a, n| a.file(&format!("d/{n}"), content));
        let archive = archive.finish();
        ("tar+gzip", gzip(&archive), archive)
    });
    let slow = crate::image::digest(&layers[1].1).to_string();
    let digest = blobs.image(&layers, "{}");
    let server = listen(Certificate::None, move |request, out| {
        let mut answer = Vec::new();
        blob(&blobs, Behaviour::Honest, Behaviour::Honest, request, &mut answer);
        for some in answer.chunks(bytes_per_ms) {
            out.write_all(some).ok()?;
            out.flush().ok()?;
            if request.path.ends_with(&slow) {
                thread::sleep(Duration::from_millis(1));
            }
        }
        Some(())
    });
    (server, format!("example.org/app@{digest}"))
}

#[test]
fn a_pull_that_is_killed_leaves_nothing_that_runs_and_is_redone() {
    const NAME: &str = "a_pull_that_is_killed_leaves_nothing_that_runs_and_is_redone";
    if let Ok(child) = std::env::var(CHILD) {
        let [directory, mirror, image] = child.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{child}")
        };
        return pull_into(Path::new(directory), mirror, image).expect("pulled");
    }
    if !root(NAME) {
        return;
    }
    let mut unfinished = 0;
    for moment_ms in [0, 20, 60, 120, 250] {
        let directory = tempfile::tempdir().expect("directory");
        let (server, image) = slow_registry(64);
        let mirror = format!("http://127.0.0.1:{}", server.port);
        let arguments =
            ["--exact", &format!("killing::{NAME}"), "--nocapture", "--test-threads", "1"];
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(arguments)
            .env(CHILD, format!("{} {mirror} {image}", directory.path().display()))
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("child");
        let began = Instant::now();
        while server.requests().len() < 4 {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "the child asks for manifest, configuration and layers"
            );
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(moment_ms));
        child.kill().expect("killed");
        child.wait().expect("gone");
        let layers = || directory.path().join("layers").read_dir().expect("layers").count();
        let partial = || directory.path().join("partial").read_dir().expect("partial").count();
        unfinished += usize::from(partial() > 0);
        assert_eq!(layers(), 0, "no layer stands before the image is whole");
        pull_into(directory.path(), &mirror, &image).expect("redone");
        assert_eq!((layers(), partial()), (2, 0));
    }
    assert!(unfinished > 0, "at least one kill came while something was under way");
}
