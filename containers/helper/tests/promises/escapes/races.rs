//! Names that change places while a container is made: another container shares a volume with it.

use std::collections::BTreeSet;
use std::time::Instant;

use super::*;
use crate::root;

/// How long one race lasts.
const RACE: Duration = Duration::from_secs(6);
/// Containers that are made at the same time.
const VICTIMS: usize = 6;

/// Starts victims again and again while another container lets `swapped/inner`, a directory of the
/// volume in which they mount another one, change places with a link to `target`. What each of them
/// found, or why it did not start.
async fn race(
    stage: &mut Stage,
    name: &str,
    target: &str,
    victim: &str,
) -> (Vec<String>, Vec<String>) {
    let volumes = Archive::default()
        .directory("swapped/")
        .directory("swapped/inner/")
        .symlink("swapped/link", target)
        .directory("other/")
        .symlink("other/null", "/proc/sys/kernel/core_pattern")
        .symlink("other/0", "/proc/sys/kernel/core_pattern")
        .symlink("other/console", "/proc/sys/kernel/core_pattern")
        .directory("other/sys/")
        .directory("other/sys/kernel/")
        .symlink("other/sys/kernel/shmmni", "/etc/passwd");
    let digest = stage.image_with(volumes, r#"{"Entrypoint":["/bin/probe"]}"#);
    let (mut logs, mut errors) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    while begun.elapsed() < RACE {
        let swaps = "    command: [swap, /swapped/inner, /swapped/link]\n    stop_signal: SIGKILL\n    \
                     volumes: ['one:/swapped', 'two:/other']\n";
        let mut services = service(&format!("{name}-swaps"), digest, swaps);
        for number in 0..VICTIMS {
            let body = format!(
                "{victim}    volumes: ['one:/swapped', 'two:/swapped/inner']\n    depends_on: [{name}-swaps]\n"
            );
            services.push_str(&service(&format!("{name}-{number}"), digest, &body));
        }
        let compose = format!("services:\n{services}volumes: {{one: {{}}, two: {{}}}}\n");
        let app = stage.start(&compose).await.expect("the one that swaps runs");
        within(30, "victims", async {
            while !app.status().iter().skip(1).all(|status| status.state.is_over()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        for status in app.status().iter().skip(1) {
            match &status.state {
                ContainerState::Ended(End::Failed { message }) => errors.push(message.clone()),
                _ => logs.push(stage.log(status.id.strip_suffix("-1").expect("the first"))),
            }
        }
        app.stop().await;
        for number in 0..VICTIMS {
            let _ =
                fs::remove_file(stage.directory.path().join(format!("log/{name}-{number}-1.log")));
        }
    }
    (logs, errors)
}

/// For who reads the output: how the race went.
fn say(name: &str, logs: &[String], errors: &[String]) {
    let kinds: BTreeSet<&String> = errors.iter().collect();
    println!("{name}: {} ran, {} refused: {kinds:?}", logs.len(), errors.len());
}

/// CVE-2021-30465, CVE-2024-45310 (runc): the target of a mount changes between being looked at and
/// being mounted on. A runtime with the defect mounts the volume, or makes its directory, outside.
#[tokio::test]
async fn a_target_that_is_swapped_stays_inside() {
    if !root("a_target_that_is_swapped_stays_inside") {
        return;
    }
    let mut stage = Stage::set().await;
    let outside = Outside::make(&stage);
    let target = format!("{}/made", outside.climbing());
    let (logs, errors) = race(&mut stage, "swapped", &target, "    command: [guards]\n").await;
    say("swapped", &logs, &errors);
    logs.iter().for_each(|log| assert_guarded(log, "swapped"));
    assert!(logs.len() + errors.len() > VICTIMS, "there was a race");
    outside.assert_untouched("swapped");
}

/// The races of CVE-2025-31133, CVE-2025-52565, CVE-2025-52881 (runc), CVE-2025-62161 and
/// CVE-2025-62596 (youki): a volume that another container writes ends up over `/dev`, the
/// terminals, `/proc` or a part of it, in the middle of what the runtime does there. A runtime with
/// the defect shows a file of the kernel's at a masked path or as the terminal, or writes a
/// parameter elsewhere.
#[tokio::test]
async fn a_volume_that_gets_over_the_kernels_places_gives_nothing() {
    if !root("a_volume_that_gets_over_the_kernels_places_gives_nothing") {
        return;
    }
    let mut stage = Stage::set().await;
    let outside = Outside::make(&stage);
    for (name, target, victim) in [
        ("over-dev", "/dev", "    command: [guards]\n"),
        ("over-terminals", "/dev/pts", "    command: [guards]\n    tty: true\n"),
        ("over-proc", "/proc", "    command: [guards]\n    sysctls: {kernel.shmmni: 77}\n"),
        ("over-sys", "/proc/sys", "    command: [guards]\n    sysctls: {kernel.shmmni: 77}\n"),
    ] {
        let (logs, errors) = race(&mut stage, name, target, victim).await;
        say(name, &logs, &errors);
        logs.iter().for_each(|log| assert_guarded(log, name));
        assert!(logs.len() + errors.len() > VICTIMS, "there was a race");
        outside.assert_untouched(name);
    }
}

/// Without a race: the volume's link was there before. The container is refused, and told by what.
#[tokio::test]
async fn a_volumes_link_leads_no_mount_over_the_kernels_places() {
    if !root("a_volumes_link_leads_no_mount_over_the_kernels_places") {
        return;
    }
    let mut stage = Stage::set().await;
    let outside = Outside::make(&stage);
    let targets =
        ["/dev", "/proc", "/proc/sys", "/sys", "/sys/kernel", "/proc/self", outside.path()];
    let mut services = String::new();
    for (number, target) in targets.iter().enumerate() {
        let image =
            Archive::default().directory("v/").directory("v/inner/").file("v/inner/x", b"x");
        let digest = stage.image_with(image, r#"{"Entrypoint":["/bin/probe","guards"]}"#);
        let volume = stage.directory.path().join(format!("data/volumes/linked-{number}"));
        fs::create_dir_all(&volume).expect("volume");
        std::os::unix::fs::symlink(target, volume.join("inner")).expect("link");
        let body = format!("    volumes: ['linked-{number}:/v', 'data:/v/inner']\n");
        services.push_str(&service(&format!("led-{number}"), digest, &body));
    }
    let volumes: String =
        (0..targets.len()).map(|number| format!(", linked-{number}: {{}}")).collect();
    let found = run_with(&stage, false, &services, &volumes).await;
    assert_eq!(found.len(), targets.len());
    for (target, found) in targets.iter().zip(found) {
        let error = found.expect_err(target);
        let expected = if *target == outside.path() {
            "failed to prepare rootfs"
        } else {
            "the kernel's files are to be"
        };
        assert!(error.contains(expected), "{target}: {error}");
    }
    outside.assert_untouched("led");
}
