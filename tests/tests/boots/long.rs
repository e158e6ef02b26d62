//! Boots that take too long for every run: more shapes, every lie, apps that only the guest
//! refuses.

use libtest_mimic::Trial;
use protocol::app_compose;
use protocol::image::Flavour;
use protocol::status::{Phase, Refusal};
use tests::guest::Host;
use tests::lab;

use crate::{sparse_disk, trial};

/// vCPUs, MiB, extra disks: both sides of 2816 MiB, where memory begins to be split at 4 GiB.
static SHAPES: [(u32, u64, usize); 7] = [
    (1, 1024, 0),
    (2, 2048, 1),
    (2, 2815, 0),
    (2, 2817, 0),
    (4, 4096, 2),
    (8, 2048, 0),
    (8, 6144, 5),
];

/// The emulator's lies and the rows that refuse them.
const LIES: [(&str, &str); 9] = [
    ("flip-signature", "quote-signature"),
    ("other-report-data", "report-data"),
    ("debug", "debug"),
    ("expired-collateral", "tcb-info-current"),
    ("td-partition", "td-partition"),
    ("foreign-ca", "trust-anchor"),
    ("revoked-pck", "revocation"),
    ("wrong-qe-identity", "qe-identity"),
    ("old-tcb", "tcb-status"),
];

/// One boot each.
pub fn trials() -> Vec<Trial> {
    let shapes = SHAPES.iter().map(|(vcpus, memory, disks)| {
        let name =
            format!("registers equal predictions: {vcpus} vCPUs, {memory} MiB, {disks} more disks");
        trial(name, || registers_equal_predictions(*vcpus, *memory, *disks))
    });
    let refused = LIES
        .iter()
        .map(|(lie, row)| trial(format!("{lie} is refused by {row}"), || lie_is_refused(lie, row)));
    let apps = [
        trial("the guest refuses an image without a digest", an_unpinned_image_is_refused),
        trial(
            "the guest refuses an unknown compose key by its path",
            an_unknown_compose_key_is_refused,
        ),
        trial(
            "the guest refuses an app-compose that asks for what is not here",
            an_unsupported_app_compose_halts,
        ),
    ];
    shapes.chain(refused).chain(apps).collect()
}

fn registers_equal_predictions(vcpus: u32, memory_mib: u64, disks: usize) {
    let directory = tempfile::tempdir().unwrap();
    let extra_disks =
        (0..disks).map(|index| sparse_disk(&directory, &format!("{index}.img"))).collect();
    let host = Host { vcpus, memory_mib, extra_disks, ..Host::default() };
    let mut guest = host.start(&lab::image(Flavour::Dev));
    let ready = guest.reached(Phase::SystemReady).unwrap();
    assert_eq!(ready.refusal, Refusal::None, "{}", guest.console());
    guest.verified().passes();
}

fn lie_is_refused(lie: &str, row: &str) {
    let host =
        Host { emulator: Some(vec!["--danger-lie".to_owned(), lie.to_owned()]), ..Host::default() };
    let mut guest = host.start(&lab::image(Flavour::Dev));
    guest.reached(Phase::SystemReady).unwrap();
    let verdict = guest.verified();
    assert_eq!((verdict.code, verdict.failed().first()), (1, Some(&row)), "{verdict:#?}");
}

fn an_unpinned_image_is_refused() {
    let compose = "services:\n  web:\n    image: nginx:latest\n".to_owned();
    compose_is_refused(compose, Refusal::ImageUnpinned, "services.web.image");
}

fn an_unknown_compose_key_is_refused() {
    let compose = format!("{}    colour: red\n", Host::default().compose);
    compose_is_refused(compose, Refusal::ComposeInvalid, "services.web.colour");
}

fn compose_is_refused(compose: String, refusal: Refusal, path: &str) {
    let mut guest = Host { compose, ..Host::default() }.start(&lab::image(Flavour::Dev));
    let last = guest.reached(Phase::AppRunning).unwrap();
    assert_eq!((last.phase, last.refusal), (Phase::AppFailed, refusal));
    guest.says(path);
}

fn an_unsupported_app_compose_halts() {
    let honest = app_compose::generate("test", &Host::default().compose).unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(&honest).unwrap();
    json["pre_launch_script"] = "echo".into();
    let host = Host { app_compose: Some(serde_json::to_vec(&json).unwrap()), ..Host::default() };
    let mut guest = host.start(&lab::image(Flavour::Dev));
    let last = guest.reached(Phase::Networked).unwrap();
    assert_eq!((last.phase, last.refusal), (Phase::LaunchRead, Refusal::AppComposeInvalid));
    guest.ended();
}
