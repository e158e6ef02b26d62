//! What `dstyx` computes: registers, whole verdicts, and the search for what explains a mismatch.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use measurement::explain::{FoundRegisters, Known, StatedBy, explain};
use measurement::{App, FirmwareLayout, ImageFacts, ImageFiles, Until, predict_each};
use protocol::digest::{AppId, ComposeHash, Rtmr};
use protocol::image::ImageManifest;
use serde_json::Value;
use sha2::{Digest as _, Sha384};
use tests::dstyx::User;
use tests::lab;
use tests::scene::default_shape;

use super::{image, median, milliseconds, row, timed};

/// Predictions from image.json, and from the files.
const PREDICTIONS: usize = 1001;
const HASHINGS: usize = 9;

/// Registers from what describes an image, and from the image.
pub fn predictions() {
    let image = &image();
    let json = fs::read(image.join("image.json")).unwrap();
    let app = app();
    let from_json = median((0..PREDICTIONS).map(|_| {
        timed(|| {
            let manifest = ImageManifest::parse(&json).unwrap();
            let facts = ImageFacts::from_manifest(&manifest).unwrap();
            let shape = default_shape(&manifest);
            let registers = measurement::predict_registers(&facts, &shape).unwrap();
            (registers, measurement::predict_app(&app, Until::SystemReady))
        })
    }));
    row(
        "all registers from image.json",
        &format!("{} µs", from_json.as_micros()),
        "",
        None,
        "≤ 10 ms",
    );

    let manifest = lab::manifest(image);
    let read = |name: &str| fs::read(image.join(name)).unwrap();
    let (firmware, kernel, initrd) = (read("firmware.fd"), read("kernel"), read("initrd"));
    let layout = FirmwareLayout::from_name(&manifest.firmware_facts.layout).ok();
    let files = ImageFiles {
        firmware: &firmware,
        layout,
        kernel: &kernel,
        initrd: &initrd,
        cmdline: &manifest.cmdline,
    };
    let shape = default_shape(&manifest);
    let runs: Vec<_> = (0..HASHINGS)
        .map(|_| {
            let predicted = timed(|| {
                let facts = ImageFacts::from_files(&files).unwrap();
                measurement::predict_registers(&facts, &shape).unwrap()
            });
            (predicted, timed(|| hashed(&files)))
        })
        .collect();
    let predicted = median(runs.iter().map(|(predicted, _)| *predicted));
    let plain = median(runs.iter().map(|(_, plain)| *plain));
    let peer = format!("SHA-384 of each file once: {}", milliseconds(plain));
    let ratio = Some(predicted.as_secs_f64() / plain.as_secs_f64());
    row("all registers from the files", &milliseconds(predicted), &peer, ratio, "≤ 1.10x");
}

/// Every file hashed once, on as many threads as the prediction uses.
fn hashed(files: &ImageFiles<'_>) -> [[u8; 48]; 3] {
    let hash = |bytes: &[u8]| -> [u8; 48] { Sha384::digest(bytes).into() };
    std::thread::scope(|scope| {
        let firmware = scope.spawn(|| hash(files.firmware));
        [hash(files.kernel), hash(files.initrd), firmware.join().unwrap()]
    })
}

/// The whole program on a real guest's evidence and its image's measurement file: as it is, and of
/// a machine that it is not.
pub fn verdicts() {
    let evidence = lab::checkout().join("tests/vectors/measurement/dstack-0.6-2cpu-2GiB.json");
    let directory = tempfile::tempdir().unwrap();
    let text: Value = serde_json::from_slice(&fs::read(&evidence).unwrap()).unwrap();
    let config: Value = serde_json::from_str(text["vm_config"].as_str().unwrap()).unwrap();
    for (key, file) in [("checksum_file", "sha256sum.txt"), ("measurement", "measurement.tdx.cbor")]
    {
        let part = config["tdx_measurement"][key].as_str().unwrap();
        fs::write(directory.path().join(file), BASE64.decode(part).unwrap()).unwrap();
    }
    let user = User::default();
    let verdict = |vcpus: &str| {
        let options = [
            "verify",
            "--evidence",
            evidence.to_str().unwrap(),
            "--image",
            directory.path().to_str().unwrap(),
        ];
        let answer = user.dstyx([&options[..], &["--vcpus", vcpus]].concat());
        let expected = if vcpus == "2" { "pass" } else { "fail" };
        assert_eq!(answer.verdict("rtmr0"), expected, "{answer:?}");
    };
    let time = |vcpus| median((0..HASHINGS).map(|_| timed(|| verdict(vcpus))));
    row("`dstyx verify` of a file, whole", &milliseconds(time("2")), "", None, "≤ 100 ms");
    row("`dstyx verify`, a mismatch explained", &milliseconds(time("4")), "", None, "≤ 2 s");
}

/// A register that follows from nothing, without a log: every neighbour is tried.
pub fn hopeless_search() {
    let image = &image();
    let manifest = lab::manifest(image);
    let facts = ImageFacts::from_manifest(&manifest).unwrap();
    let stated = default_shape(&manifest);
    let known = Known {
        image: &facts,
        stated: &stated,
        stated_by: StatedBy::PERSON,
        claimed: None,
        others: &[],
        log: &[],
    };
    let unknown =
        FoundRegisters { mrtd: manifest.reference.mrtd.single_pass, rtmrs: [Rtmr::ZERO; 3] };
    let expected = predict_each(&facts, &stated);
    let time = median((0..3).map(|_| timed(|| explain(&known, &expected, &unknown))));
    row("all neighbours of three registers tried", &milliseconds(time), "", None, "≤ 2 s");
}

fn app() -> App {
    let compose_hash = ComposeHash::of(b"{}");
    App {
        compose_hash,
        app_id: AppId::from_compose_hash(&compose_hash),
        instance_id: None,
        os_image_hash: None,
        key_provider: Some(r#"{"name":"none","id":""}"#.to_owned()),
        storage_fs: Some("btrfs".to_owned()),
        danger_privileged: false,
    }
}
