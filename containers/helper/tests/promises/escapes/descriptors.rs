//! What a process holds when it begins, and what it can make of other programs.

use sha2::{Digest, Sha256};

use super::*;
use crate::root;
use crate::running::probe;

/// A health check of a container, every so often.
const CHECKED: &str = "interval: 50ms, timeout: 10s, retries: 1000";

/// CVE-2024-21626 (runc): a descriptor of the guest's that the process still has is a way out. A
/// runtime with the defect leaves it more than its three streams.
#[tokio::test]
async fn a_process_begins_with_three_descriptors() {
    if !root("a_process_begins_with_three_descriptors") {
        return;
    }
    let mut stage = Stage::set().await;
    let digest = stage.image(r#"{"Entrypoint":["/bin/probe","fds"]}"#);
    let bodies = ["", "    tty: true\n", "    stdin_open: true\n", "    cap_add: [SYS_TIME]\n"];
    let one = |(number, body): (usize, &&str)| service(&format!("holds-{number}"), digest, body);
    let services: String = bodies.iter().enumerate().map(one).collect();
    for (body, found) in bodies.iter().zip(run(&stage, true, &services).await) {
        assert_eq!(found.expect(body).trim_end(), "descriptors=[0, 1, 2]", "{body}");
    }
}

/// CVE-2019-5736 (runc): the runtime's program, seen as `/proc/self/exe` or as that of a command
/// which is about to begin, is held open and overwritten once it does not run. A runtime with the
/// defect runs the image's bytes as the guest's root from then on. Here it cannot be opened by a
/// container with ids of its own, and with those of the guest never for writing.
#[tokio::test]
async fn the_runtimes_program_stays_what_it_is() {
    if !root("the_runtimes_program_stays_what_it_is") {
        return;
    }
    let mut stage = Stage::set().await;
    let program =
        || Sha256::digest(fs::read(env!("CARGO_BIN_EXE_container-helper")).expect("program"));
    let before = program();
    // The image's program is the runtime's own, which has nothing to read there.
    let digest = stage.image_with(library(), r#"{"Entrypoint":["/proc/self/exe"]}"#);
    let log = run_one(&stage, &service("becomes", digest, "")).await.expect("started");
    assert!(log.contains(r#""failed""#), "{log}");
    let digest = stage.image_with(library(), r#"{"Entrypoint":["/bin/probe","overwrite"]}"#);
    let body = format!(
        "    healthcheck: {{test: [CMD, /proc/self/exe], {CHECKED}}}\n    stop_signal: SIGKILL\n"
    );
    let services = service("overwrites", digest, &body)
        + &service("overwrites-guest", digest, &format!("{body}    cap_add: [SYS_TIME]\n"));
    let app = stage.begin(true, &format!("services:\n{services}"));
    let failed = |id: &str| {
        let of = |event: &containers::app::AppEvent| event.subject.as_deref() == Some(id);
        let events = app.events_after(0).into_iter().filter(of);
        events.filter(|event| event.what.to_string() == "health check failed: exit code 1").count()
    };
    within(120, "checks", async {
        while failed("overwrites-1") < 10 || failed("overwrites-guest-1") < 10 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    app.stop().await;
    let logs = ["overwrites", "overwrites-guest"].map(|name| stage.log(name));
    assert!(logs.iter().all(|log| !log.contains("BROKEN")), "{logs:?}");
    println!("{logs:?}");
    assert_eq!(program(), before);
}

/// Set-id programs and file capabilities of an image are how a service's user becomes root on a
/// machine. Here they give nothing, in the image or copied into a volume.
#[tokio::test]
async fn set_id_programs_and_file_capabilities_give_nothing() {
    if !root("set_id_programs_and_file_capabilities_give_nothing") {
        return;
    }
    // `struct vfs_cap_data`, revision 2, effective: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL and
    // SETGID, which are among those that a container may have.
    const CAPABILITY: &str = "\u{1}\0\0\u{2}\u{5b}\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let mut stage = Stage::set().await;
    let bytes = fs::read(probe()).expect("probe");
    let image = Archive::default()
        .directory("set/")
        .program("set/uid", 0o6755, &bytes)
        .pax("SCHILY.xattr.security.capability", CAPABILITY)
        .program("set/capable", 0o755, &bytes);
    let digest = stage.image_with(image, r#"{"User":"www"}"#);
    let (uid, volume) = ("    command: [/set/uid, report]\n", "    volumes: ['data:/set']\n");
    let bodies = [
        uid.to_owned(),
        "    command: [/set/capable, report]\n".to_owned(),
        format!("{uid}{volume}"),
    ];
    let one = |(number, body): (usize, &String)| service(&format!("set-{number}"), digest, body);
    let services: String = bodies.iter().enumerate().map(one).collect();
    for (body, found) in bodies.iter().zip(run(&stage, false, &services).await) {
        let log = found.expect(body);
        for line in
            ["Uid: 33 33 33 33", "Gid: 34 34 34 34", "CapEff: 0000000000000000", "NoNewPrivs: 1"]
        {
            assert!(log.lines().any(|found| found == line), "{body}: {line:?} not in:\n{log}");
        }
    }
}
