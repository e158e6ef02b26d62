//! Promise: what runs is what the digest names; a registry that lies, stalls or ends early is
//! refused by name.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use compose::ImageReference;
use compose::digest::ContentDigest;
use container_images::{
    FetchError, Limits, Mirror, Progress, PullError, PulledImage, Registries, RegistrySettings,
    SourceError, Store, Timeouts, pull,
};

use crate::image::{Archive, Blobs, digest, gzip, zstd};
use crate::registry::{Behaviour, Certificate, Request, Server, blob, listen, mirrored, serve};
use crate::root;

/// Three layers, one of each compression.
fn sample(blobs: &mut Blobs) -> ContentDigest {
    let one = Archive::default().directory("etc/").file("etc/one", b"one").finish();
    let two = Archive::default().file("etc/two", &vec![b'2'; 300_000]).finish();
    let three = Archive::default().file("three", b"3").finish();
    let layers = [
        ("tar", one.clone(), one),
        ("tar+gzip", gzip(&two), two.clone()),
        ("tar+zstd", zstd(&three), three.clone()),
    ];
    blobs.image(&layers, r#"{"Cmd":["/bin/x"],"Env":["A=1"],"User":"7:8","StopSignal":"SIGQUIT"}"#)
}

/// Pulls `digest` from mirrors alone into a new store.
async fn pull_from(
    mirrors: Vec<Mirror>,
    digest: ContentDigest,
    limits: Limits,
) -> Result<PulledImage, PullError> {
    let root = tempfile::tempdir().expect("directory");
    let image = ImageReference::parse(&format!("example.org/app:1@{digest}")).expect("reference");
    let registries = Arc::new(Registries::new(mirrored(mirrors)).expect("mirrors"));
    let store = Arc::new(Store::open(root.path()).expect("store"));
    let pulled = pull(&image, registries, store, limits, &Progress::default()).await;
    let layers = root.path().join("layers").read_dir().expect("layers").count();
    let partial = root.path().join("partial").read_dir().expect("partial").count();
    assert_eq!(partial, 0, "nothing unfinished is left");
    if let Ok(pulled) = &pulled {
        assert_eq!(pulled.layers.len(), layers);
        assert_eq!(std::fs::read(pulled.layers[0].join("etc/one")).expect("file"), b"one");
        assert_eq!(
            std::fs::metadata(pulled.layers[1].join("etc/two")).expect("file").len(),
            300_000
        );
        assert_eq!(std::fs::read(pulled.layers[2].join("three")).expect("file"), b"3");
    }
    pulled
}

#[tokio::test]
async fn an_honest_mirror_serves_every_compression() {
    if !root("an_honest_mirror_serves_every_compression") {
        return;
    }
    let mut blobs = Blobs::default();
    let digest = sample(&mut blobs);
    let mirror = serve(blobs, Behaviour::Honest, Behaviour::Honest);
    let pulled = pull_from(vec![mirror], digest, Limits::default()).await.expect("pulled");
    assert_eq!(pulled.manifest, digest);
    assert_eq!(pulled.config.command, ["/bin/x"]);
    assert_eq!(
        (pulled.config.user.as_str(), pulled.config.stop_signal.as_deref()),
        ("7:8", Some("SIGQUIT"))
    );
}

#[tokio::test]
async fn an_index_leads_to_the_manifest_of_this_platform() {
    if !root("an_index_leads_to_the_manifest_of_this_platform") {
        return;
    }
    let mut blobs = Blobs::default();
    let manifest = sample(&mut blobs);
    let size = blobs.0[&manifest.to_string()].len();
    let index = |digest: ContentDigest, size: usize| {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let platform = r#"{"os":"linux","architecture":"amd64"}"#;
        format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{kind}","digest":"{digest}","size":{size},"platform":{platform}}}]}}"#
        )
    };
    let good = blobs.add(index(manifest, size).into_bytes());
    let nested = blobs.add(index(good, index(manifest, size).len()).into_bytes());
    let wrong_size = blobs.add(index(manifest, size + 1).into_bytes());
    let mirror = serve(blobs, Behaviour::Honest, Behaviour::Honest);
    let pulled = pull_from(vec![mirror.clone()], good, Limits::default()).await.expect("pulled");
    assert_eq!(pulled.manifest, manifest);
    let error =
        pull_from(vec![mirror.clone()], nested, Limits::default()).await.expect_err("nested");
    assert!(error.to_string().contains("points to another index"), "{error}");
    let error = pull_from(vec![mirror], wrong_size, Limits::default()).await.expect_err("size");
    assert!(matches!(source_error(&error), SourceError::WrongLength { .. }), "{error}");
}

/// The cause of the one source asked.
fn source_error(error: &PullError) -> &SourceError {
    match error {
        PullError::Fetch(FetchError::AllSources { attempts, .. }) => {
            &attempts.iter().next().expect("one").cause
        }
        other => panic!("not about a source: {other}"),
    }
}

#[tokio::test]
async fn wrong_bytes_are_told_with_both_digests_and_the_source() {
    let mut blobs = Blobs::default();
    let pinned = sample(&mut blobs);
    let mut lie = blobs.0[&pinned.to_string()].clone();
    let half = lie.len() / 2;
    lie[half] ^= 1;
    let mirror = serve(blobs, Behaviour::OtherBytes, Behaviour::Honest);
    let shown =
        pull_from(vec![mirror], pinned, Limits::default()).await.expect_err("refused").to_string();
    let expected = format!("wrong bytes: expected {pinned}, found {}", digest(&lie));
    assert!(shown.contains(&expected), "{shown}");
    assert!(shown.contains("http://127.0.0.1:"), "{shown}");
}

#[tokio::test]
async fn a_lying_mirror_does_not_stop_an_honest_one() {
    if !root("a_lying_mirror_does_not_stop_an_honest_one") {
        return;
    }
    let mut blobs = Blobs::default();
    let digest = sample(&mut blobs);
    let liar = serve(blobs.clone(), Behaviour::OtherBytes, Behaviour::Endless);
    let absent = serve(Blobs::default(), Behaviour::Honest, Behaviour::Honest);
    let honest = serve(blobs, Behaviour::Honest, Behaviour::Honest);
    pull_from(vec![liar, absent, honest], digest, Limits::default()).await.expect("pulled");
}

#[tokio::test]
async fn nobody_to_ask_is_said() {
    let mut blobs = Blobs::default();
    let digest = sample(&mut blobs);
    let error = pull_from(Vec::new(), digest, Limits::default()).await.expect_err("nobody");
    assert!(
        error.to_string().ends_with("no mirror was named and no registry may be asked"),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_in_the_store_is_not_fetched_again() {
    if !root("what_is_in_the_store_is_not_fetched_again") {
        return;
    }
    let mut blobs = Blobs::default();
    let digest = sample(&mut blobs);
    let image = ImageReference::parse(&format!("example.org/app@{digest}")).expect("reference");
    let directory = tempfile::tempdir().expect("directory");
    let from = async |mirrors: Vec<Mirror>| {
        let registries = Arc::new(Registries::new(mirrored(mirrors)).expect("mirror"));
        let store = Arc::new(Store::open(directory.path()).expect("store"));
        pull(&image, registries, store, Limits::default(), &Progress::default()).await
    };
    let first =
        from(vec![serve(blobs, Behaviour::Honest, Behaviour::Honest)]).await.expect("pulled");
    let second = from(Vec::new()).await.expect("pulled from the store alone");
    assert_eq!((second.layers, second.config), (first.layers, first.config));
}

#[tokio::test]
async fn a_layer_that_stands_twice_is_stacked_once() {
    if !root("a_layer_that_stands_twice_is_stacked_once") {
        return;
    }
    let mut blobs = Blobs::default();
    let one = Archive::default().directory("etc/").file("etc/one", b"one").finish();
    let two = Archive::default().file("two", b"2").finish();
    let layers =
        [("tar", one.clone(), one.clone()), ("tar", two.clone(), two), ("tar", one.clone(), one)];
    let digest = blobs.image(&layers, "{}");
    let mirror = serve(blobs, Behaviour::Honest, Behaviour::Honest);
    let directory = tempfile::tempdir().expect("directory");
    let image = ImageReference::parse(&format!("example.org/app@{digest}")).expect("reference");
    let registries = Arc::new(Registries::new(mirrored(vec![mirror])).expect("mirror"));
    let store = Arc::new(Store::open(directory.path()).expect("store"));
    let pulled = pull(&image, registries, store, Limits::default(), &Progress::default())
        .await
        .expect("pulled");
    assert_eq!(pulled.layers.len(), 2);
    assert!(pulled.layers[0].join("two").exists() && pulled.layers[1].join("etc/one").exists());
}

/// One layer of a megabyte and a half that does not compress, in an image.
fn large() -> (Blobs, ContentDigest) {
    let mut blobs = Blobs::default();
    let mut seed = 1u32;
    let noise = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    });
    let archive =
        Archive::default().file("noise", &noise.take(1_500_000).collect::<Vec<_>>()).finish();
    let digest = blobs.image(&[("tar+gzip", gzip(&archive), archive)], "{}");
    (blobs, digest)
}

/// Pulls from one server and gives what its layers were asked for: the offset of each question.
async fn pull_large(
    blobs: &Blobs,
    digest: ContentDigest,
    server: &Server,
    progress: &Progress,
) -> Vec<Option<String>> {
    let directory = tempfile::tempdir().expect("directory");
    let image = ImageReference::parse(&format!("example.org/app@{digest}")).expect("reference");
    let timeout = Timeouts { pause: Duration::from_millis(1), ..Timeouts::default() };
    let settings = RegistrySettings { timeout, ..mirrored(vec![server.mirror()]) };
    let registries = Arc::new(Registries::new(settings).expect("mirror"));
    let store = Arc::new(Store::open(directory.path()).expect("store"));
    let pulled =
        pull(&image, registries, store, Limits::default(), progress).await.expect("pulled");
    assert_eq!(std::fs::metadata(pulled.layers[0].join("noise")).expect("file").len(), 1_500_000);
    let layer = blobs
        .0
        .iter()
        .max_by_key(|(_, bytes)| bytes.len())
        .map(|(digest, _)| digest.clone())
        .expect("layer");
    let of_layer = server.requests().into_iter().filter(|request| request.path.ends_with(&layer));
    of_layer.map(|request| request.header("range").map(str::to_owned)).collect()
}

#[tokio::test]
async fn what_broke_off_is_taken_up_where_it_ended() {
    if !root("what_broke_off_is_taken_up_where_it_ended") {
        return;
    }
    let (blobs, digest) = large();
    let served = blobs.clone();
    // Never more than 400 kB at a time, whatever is asked for.
    let server = listen(Certificate::None, move |request, out| {
        let mut some = Vec::new();
        blob(&served, Behaviour::Honest, Behaviour::Honest, request, &mut some);
        out.write_all(&some[..some.len().min(400_000)]).ok()
    });
    let progress = Progress::default();
    let asked = pull_large(&blobs, digest, &server, &progress).await;
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert!(asked[0].is_none() && asked[1..].iter().all(Option::is_some), "{asked:?}");
    let pulled = progress.subscribe().borrow().clone();
    assert_eq!((pulled.blobs_done, pulled.blobs), (3, 3));
    assert!(pulled.bytes > 1_400_000 && pulled.bytes_done == pulled.bytes, "{pulled:?}");
    assert!(pulled.image.starts_with("example.org/app@sha256:"));
}

#[tokio::test]
async fn a_source_that_starts_over_or_is_busy_is_borne_with() {
    if !root("a_source_that_starts_over_or_is_busy_is_borne_with") {
        return;
    }
    let (blobs, digest) = large();
    let (served, asked) = (blobs.clone(), AtomicUsize::new(0));
    // Drops what it is asked first, is busy then, and knows no ranges.
    let server = listen(Certificate::None, move |request, out| {
        let behaviour = match asked.fetch_add(1, Ordering::SeqCst) % 3 {
            0 => Behaviour::Dropped,
            1 => Behaviour::Status(503),
            _ => Behaviour::Honest,
        };
        let plain = Request { headers: Vec::new(), ..request.clone() };
        blob(&served, behaviour, behaviour, &plain, out)
    });
    let progress = Progress::default();
    let asked = pull_large(&blobs, digest, &server, &progress).await;
    assert_eq!(asked.len(), 3, "{asked:?}");
    let pulled = progress.subscribe().borrow().clone();
    assert_eq!(pulled.bytes_done, pulled.bytes, "what came twice counts once");
}
