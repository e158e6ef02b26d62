//! Links in an image, where the runtime makes files, mounts or directories.

use super::*;
use crate::root;

/// What becomes of an image: refused with a message that contains this, or it runs.
enum Fate<'a> {
    Refused(&'a str),
    Runs,
}

use Fate::{Refused, Runs};

/// An image with a link, and services that would follow it.
struct Case<'a> {
    link: &'a str,
    target: String,
    /// Of the service, beside its image.
    body: &'a str,
    fate: Fate<'a>,
}

/// Runs a service for each case, all at once.
async fn check(stage: &mut Stage, outside: &Outside, name: &str, cases: &[Case<'_>]) {
    let mut services = String::new();
    for (number, Case { link, target, body, .. }) in cases.iter().enumerate() {
        // Inside the root there is such a directory too, so that nothing fails for want of one.
        let image = if ["dev", "proc", "sys"].contains(link) {
            outside.same_inside()
        } else {
            Archive::default()
        };
        let image = image.symlink(link, target);
        let digest = stage.image_with(image, r#"{"Entrypoint":["/bin/probe","guards"]}"#);
        services.push_str(&service(&format!("{name}-{number}"), digest, body));
    }
    let found = run(stage, true, &services).await;
    for (Case { link, target, body, fate }, found) in cases.iter().zip(found) {
        let what = format!("{link} -> {target} with {body:?}");
        match (found, fate) {
            (Ok(log), Runs) => assert_guarded(&log, &what),
            (Err(error), Refused(why)) => assert!(error.contains(why), "{what}: {error}"),
            (ran, _) => panic!("{what}: {ran:?}"),
        }
    }
    outside.assert_untouched("links");
}

fn case<'a>(link: &'a str, target: impl Into<String>, body: &'a str, fate: Fate<'a>) -> Case<'a> {
    Case { link, target: target.into(), body, fate }
}

/// CVE-2026-41579 (runc) and CVE-2025-54867 (youki): with `/dev` a link, the links and nodes of
/// `/dev` are made wherever it leads, before the container's root is its root; with `/proc` or
/// `/sys` a link, what is to protect their files ends up elsewhere. A runtime with the defect makes
/// `fd`, `stdin` and `ptmx` in the directory outside.
#[tokio::test]
async fn places_of_the_kernels_file_systems_are_no_links() {
    if !root("places_of_the_kernels_file_systems_are_no_links") {
        return;
    }
    let mut stage = Stage::set().await;
    let outside = Outside::make(&stage);
    let mut cases = Vec::new();
    for link in ["dev", "proc", "sys"] {
        for target in [outside.path(), &outside.climbing(), "/proc/self/fd", "etc", "/", "nowhere"]
        {
            cases.push(case(link, target, "", Refused("is no directory")));
        }
    }
    check(&mut stage, &outside, "place", &cases).await;
    let with_ids_of_the_guest: Vec<Case> =
        cases.into_iter().map(|it| Case { body: "    cap_add: [SYS_TIME]\n", ..it }).collect();
    check(&mut stage, &outside, "place-guest", &with_ids_of_the_guest).await;
}

/// CVE-2021-30465, CVE-2023-27561, CVE-2024-45310 (runc): targets of mounts are followed out of the
/// root, or onto `/proc`. A runtime with the defect makes files outside, or hides what protects the
/// kernel's files.
#[tokio::test]
async fn targets_of_mounts_lead_nowhere_else() {
    if !root("targets_of_mounts_lead_nowhere_else") {
        return;
    }
    let mut stage = Stage::set().await;
    let outside = Outside::make(&stage);
    let (volume, memory) = ("    volumes: ['data:/t']\n", "    tmpfs: /t/deep\n");
    let (path, climbing, kept) = (outside.path(), outside.climbing(), outside.kept());
    let nothing = "leads nowhere";
    let mut cases = vec![
        case("etc", path, "", Refused(nothing)),
        case("etc", &*climbing, "", Refused(nothing)),
        case("etc/hosts", &*kept, "", Refused(nothing)),
        case("etc/resolv.conf", format!("../{climbing}/kept"), "", Refused(nothing)),
        case("etc/hostname", "/etc/passwd", "", Runs),
        case("t", "/etc", volume, Runs),
        case("t", path, volume, Refused(nothing)),
        case("t", &*climbing, memory, Refused(nothing)),
    ];
    for target in
        ["/dev", "dev/../dev/", "/dev/shm", "/proc", "/proc/self/fd", "../proc/sys", "/sys/kernel"]
    {
        for body in [volume, memory] {
            cases.push(case("t", target, body, Refused("leads into /")));
        }
    }
    for target in
        ["/proc/self/environ", "/proc/sys/kernel/core_pattern", "/dev/null", "/sys/../proc/1/fd/3"]
    {
        cases.push(case("etc/hosts", target, "", Refused("leads into /")));
    }
    check(&mut stage, &outside, "target", &cases).await;
}

/// CVE-2024-21626 (runc) and older ones: the directory in which a process begins leads to a
/// directory of the guest's. A runtime with the defect makes the directory outside, or starts the
/// process in it.
#[tokio::test]
async fn the_working_directory_is_inside() {
    if !root("the_working_directory_is_inside") {
        return;
    }
    let mut stage = Stage::set().await;
    let outside = Outside::make(&stage);
    let inside = "    working_dir: /w/made\n";
    let fate = || Refused("the image's files: open parent");
    let cases = [
        case("w", outside.path(), inside, fate()),
        case("w", outside.climbing(), inside, fate()),
        case("w", "/etc", inside, Runs),
    ];
    check(&mut stage, &outside, "directory", &cases).await;
    let mut services = String::new();
    for number in 3..24 {
        // Below /proc the kernel's directory hides what was made for it in the root.
        let climbing = ["", "/../../.."][number % 2];
        let process = format!(
            r#"{{"Entrypoint":["/bin/probe","report"],"WorkingDir":"/proc/self/fd/{number}{climbing}"}}"#
        );
        services.push_str(&service(&format!("works-{number}"), stage.image(&process), ""));
    }
    for (number, found) in run(&stage, false, &services).await.into_iter().enumerate() {
        let Ok(log) = found else { continue };
        let cwd = log.lines().find_map(|line| line.strip_prefix("cwd=")).expect("a directory");
        assert!(Path::new(cwd).is_absolute() && log.contains("owner /=0"), "{number}: {log}");
    }
}
