//! Boots that take too long for every run: more shapes, every lie, apps that only the guest refuses.

use protocol::app_compose;
use protocol::image::Flavour;
use protocol::status::{Phase, Refusal};
use tests::guest::Host;
use tests::lab;

use crate::{sparse_disk, turn};

/// vCPUs, MiB, extra disks: both sides of 2816 MiB, where memory begins to be split at 4 GiB.
const SHAPES: [(u32, u64, usize); 7] =
    [(1, 1024, 0), (2, 2048, 1), (2, 2815, 0), (2, 2817, 0), (4, 4096, 2), (8, 2048, 0), (8, 6144, 5)];

#[test]
fn registers_equal_their_predictions_in_every_shape() {
    if !lab::long() {
        return;
    }
    let image = lab::image(Flavour::Dev);
    for (vcpus, memory_mib, disks) in SHAPES {
        let _turn = turn();
        let folder = tempfile::tempdir().unwrap();
        let extra_disks = (0..disks).map(|index| sparse_disk(&folder, &format!("{index}.img"))).collect();
        let host = Host { vcpus, memory_mib, extra_disks, ..Host::default() };
        let mut guest = host.start(&image);
        let ready = guest.reached(Phase::SystemReady).unwrap();
        assert_eq!(ready.refusal, Refusal::None, "{}", guest.console());
        guest.verified().passes();
        println!("{vcpus} vCPUs, {memory_mib} MiB, {disks} more disks: {:.1} s", guest.age().as_secs_f64());
    }
}

#[test]
fn every_lie_of_the_emulator_is_refused() {
    if !lab::long() {
        return;
    }
    let lies = [
        ("flip-signature", "quote-signature"),
        ("other-report-data", "report-data"),
        ("debug", "debug"),
        ("expired-collateral", "tcb-info-current"),
    ];
    for (lie, row) in lies {
        let _turn = turn();
        let host = Host { emulator: Some(vec!["--danger-lie".to_owned(), lie.to_owned()]), ..Host::default() };
        let mut guest = host.start(&lab::image(Flavour::Dev));
        guest.reached(Phase::SystemReady).unwrap();
        let verdict = guest.verified();
        assert_eq!((verdict.code, verdict.failed().first()), (1, Some(&row)), "{lie}: {verdict:#?}");
    }
}

#[test]
fn a_compose_file_that_no_host_checked_is_refused_in_the_guest() {
    if !lab::long() {
        return;
    }
    let pinned = format!("services:\n  web:\n    image: x.local/web@sha256:{}\n", "ab".repeat(32));
    let cases = [
        ("services:\n  web:\n    image: nginx:latest\n".to_owned(), Refusal::ImageUnpinned, "services.web.image"),
        (format!("{pinned}    colour: red\n"), Refusal::ComposeInvalid, "services.web.colour"),
    ];
    for (compose, refusal, path) in cases {
        let _turn = turn();
        let host = Host { compose, ..Host::default() };
        let mut guest = host.start(&lab::image(Flavour::Dev));
        let last = guest.reached(Phase::AppRunning).unwrap();
        assert_eq!((last.phase, last.refusal), (Phase::AppFailed, refusal));
        let console = guest.console();
        assert!(console.contains(path), "{path} is not named: {console}");
    }
}

#[test]
fn an_app_compose_that_asks_for_what_is_not_here_halts_before_the_network() {
    if !lab::long() {
        return;
    }
    let _turn = turn();
    let honest = app_compose::generate("test", &Host::default().compose).unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(&honest).unwrap();
    json["pre_launch_script"] = "echo".into();
    let host = Host { app_compose: Some(serde_json::to_vec(&json).unwrap()), ..Host::default() };
    let mut guest = host.start(&lab::image(Flavour::Dev));
    let last = guest.reached(Phase::Networked).unwrap();
    assert_eq!((last.phase, last.refusal), (Phase::LaunchRead, Refusal::AppComposeInvalid));
    guest.ended();
}
