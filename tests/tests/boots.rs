//! Promises that need a booted guest. Six boots in every run, each shared by many assertions; the
//! rest with `DSTYX_LONG`.
//!
//! A harness of its own, so that a run lists what it boots and nothing else. Boots take turns: an
//! emulated guest uses every core that it gets, and time limits are for one.

#![allow(clippy::unwrap_used)] // the helpers of a test are tests too

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use image::recipes::Recipes;
use libtest_mimic::{Arguments, Trial};
use measurement::{App, Until};
use protocol::digest::{AppId, ComposeHash, InstanceId};
use protocol::image::Flavour;
use protocol::status::{Phase, Refusal};
use tempfile::TempDir;
use tests::guest::{Host, INSTANCE_SEED};
use tests::lab;
use tests::mirror::Mirror;

#[path = "boots/conformance.rs"]
mod conformance;
#[path = "boots/corpus.rs"]
mod corpus;
#[path = "boots/data_disk.rs"]
mod data_disk;
#[path = "boots/launch_blocks.rs"]
mod launch_blocks;
#[path = "boots/long.rs"]
mod long;
#[path = "boots/outside.rs"]
mod outside;
#[path = "boots/real_app.rs"]
mod real_app;
#[path = "boots/sandbox.rs"]
mod sandbox;
#[path = "boots/sdk.rs"]
mod sdk;
#[path = "boots/up.rs"]
mod up;

/// What the malicious SSDT's program prints.
const EXPLOITED: &str = "BADAML: PID 1 is the host's";
/// What the confined kernel prints for each access.
const CONFINED: &str = "SystemMemory access refused";
/// Where the malicious SSDT begins its search is the end of such a guest's memory.
const BADAML_MEMORY_MIB: u64 = 1024;

fn main() -> ExitCode {
    if let Some(code) = reproducible_build::sandbox::run_if_child() {
        return code;
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let mut trials = vec![
        trial(
            "up refuses before the boot what the guest would refuse",
            up::refuses_before_the_boot,
        ),
        trial(
            "up boots hello, verifies it and prints a link that answers",
            up::boots_verifies_and_answers,
        ),
        trial(
            "up ends with the verdict where the guest is not verified",
            up::ends_where_the_guest_is_not_verified,
        ),
        trial(
            "a real app on another shape works, is kept in, survives kills and serves dstack's SDKs",
            real_app::works_and_survives,
        ),
        trial("a release without TDX halts before anything else and says so", release_without_tdx),
        trial(
            "SSDT, SMBIOS and fw_cfg of a hostile host change nothing but RTMR0, and its mirror's other bytes are refused",
            hostile_tables_and_a_lying_mirror,
        ),
        trial("without the patch the same SSDT takes PID 1", the_same_ssdt_without_the_patch),
        trial("an unknown kernel parameter halts", an_unknown_kernel_parameter_halts),
    ];
    if lab::long() {
        trials.push(trial("up runs a whole app whose tags were pinned", up::runs_a_whole_app));
        trials.push(trial(
            "up outside a checkout runs joined files and an image that was built here",
            outside::an_image_that_was_built_here_runs,
        ));
        trials.extend(data_disk::trials());
        trials.extend(launch_blocks::trials());
        trials.extend(long::trials());
        trials.extend(conformance::trials());
    }
    trials.extend(corpus::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A promise under a name that says it.
fn trial(name: impl Into<String>, promise: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        promise();
        Ok(())
    })
}

fn release_without_tdx() {
    let host = Host { emulator: None, ..Host::default() };
    let mut guest = host.start(&lab::image(Flavour::Release));
    let last = guest.reached(Phase::Mounted).unwrap();
    assert_eq!(last.refusal, Refusal::NoTee);
    guest.ended();
    let phases: Vec<_> = guest.records().iter().map(|record| record.phase).collect();
    assert!(
        phases.iter().all(|phase| [Phase::Started, Phase::Mounted].contains(phase)),
        "{phases:?}"
    );
    assert_eq!(guest.console(), "", "a release has no console");
}

fn hostile_tables_and_a_lying_mirror() {
    let directory = tempfile::tempdir().unwrap();
    let mirror = Mirror::lying();
    let mut host = Host {
        memory_mib: BADAML_MEMORY_MIB,
        compose: fs::read_to_string(lab::checkout().join("examples/hello/docker-compose.yml"))
            .unwrap(),
        mirrors: vec![mirror.address.clone()],
        more_arguments: malicious_ssdt(&directory),
        ..Host::default()
    };
    // Ways in which systemd, cloud-init and others take orders; nothing here listens to them.
    host.more_arguments.extend(
        [
            "-smbios",
            "type=11,value=io.systemd.credential:passwd.plaintext-password.root=x",
            "-fw_cfg",
            "name=opt/io.systemd.credentials/x,string=y",
            "-fw_cfg",
            "name=opt/org.dstyx/compose,string=services: {}",
        ]
        .map(str::to_owned),
    );
    let mut guest = host.start(&lab::image(Flavour::Dev));
    let last = guest.reached(Phase::AppRunning).unwrap();
    assert_eq!(
        (last.phase, last.refusal, last.blob.is_some()),
        (Phase::AppFailed, Refusal::ImageOtherBytes, true),
        "{}",
        guest.console()
    );
    let console = guest.console();
    assert!(console.contains(CONFINED) && !console.contains(EXPLOITED), "{console}");
    let verdict = guest.verified();
    verdict.fails(&["rtmr0"]);
    // Seed and app are the test's own, so RTMR3 is predicted as well, not only replayed.
    let compose_hash = ComposeHash::of(&guest.app_compose);
    let app_id = AppId::from_compose_hash(&compose_hash);
    let app = App {
        compose_hash,
        app_id,
        instance_id: Some(InstanceId::derive(&INSTANCE_SEED, &app_id)),
        os_image_hash: None,
        key_provider: Some(r#"{"name":"none","id":""}"#.to_owned()),
        storage_fs: Some("btrfs".to_owned()),
        danger_privileged: false,
    };
    assert_eq!(
        verdict.text("/facts/rtmr3"),
        measurement::predict_app(&app, Until::SystemReady).rtmr3.to_string()
    );
}

fn the_same_ssdt_without_the_patch() {
    let directory = tempfile::tempdir().unwrap();
    let recipe = Recipes::new(lab::builder(), lab::checkout()).danger_unconfined_kernel().unwrap();
    let kernel = lab::builder().build(&recipe).unwrap().path.join("kernel");
    let host = Host {
        memory_mib: BADAML_MEMORY_MIB,
        kernel: Some(kernel),
        more_arguments: malicious_ssdt(&directory),
        ..Host::default()
    };
    let mut guest = host.start(&lab::image(Flavour::Dev));
    guest.ended();
    assert!(guest.console().contains(EXPLOITED), "{}", guest.console());
    assert_eq!(guest.records(), [], "our init has never run");
}

fn an_unknown_kernel_parameter_halts() {
    let host =
        Host { cmdline_addition: Some("systemd.unit=rescue.target".to_owned()), ..Host::default() };
    let mut guest = host.start(&lab::image(Flavour::Dev));
    let last = guest.reached(Phase::LaunchRead).unwrap();
    assert_eq!(
        (last.phase, last.refusal),
        (Phase::CommandLineChecked, Refusal::UnknownCommandLineKey)
    );
    guest.ended();
}

/// QEMU's arguments that add the malicious table.
fn malicious_ssdt(directory: &TempDir) -> Vec<String> {
    let text = fs::read_to_string(lab::checkout().join("image/kernel/badaml/badaml.hex")).unwrap();
    let digits: String = text.split_whitespace().collect();
    let file = directory.path().join("badaml.aml");
    fs::write(&file, hex::decode(digits).unwrap()).unwrap();
    vec!["-acpitable".to_owned(), format!("file={}", file.display())]
}

fn sparse_disk(directory: &TempDir, name: &str) -> PathBuf {
    let path = directory.path().join(name);
    fs::File::create(&path).unwrap().set_len(64 << 20).unwrap();
    path
}
