//! What protects the kernel's files: masked and read-only paths, the terminal, kernel parameters.

use super::*;
use crate::root;

/// CVE-2025-31133 (runc) and CVE-2025-62161 (youki): files are masked by the container's own
/// `/dev/null`, so that an image or another container that puts a link there chooses what lies over
/// them, writable. A runtime with the defect shows `core_pattern` at a masked path.
#[tokio::test]
async fn files_are_masked_by_nothing_of_the_images() {
    if !root("files_are_masked_by_nothing_of_the_images") {
        return;
    }
    let mut stage = Stage::set().await;
    let outside = Outside::make(&stage);
    for (number, target) in
        ["/proc/sys/kernel/core_pattern", &outside.kept(), "/proc/self/fd/0"].iter().enumerate()
    {
        let image = Archive::default()
            .directory("dev/")
            .symlink("dev/null", target)
            .symlink("dev/console", target);
        let digest = stage.image_with(image, r#"{"Entrypoint":["/bin/probe","guards"]}"#);
        let log = run_one(&stage, &service(&format!("masked-{number}"), digest, "")).await;
        assert_guarded(&log.expect("started"), target);
        outside.assert_untouched(target);
    }
}

/// CVE-2025-52565 (runc): `/dev/console` and what lies over it can be links of the image's. A
/// runtime with the defect makes the file that the link names, or mounts a file of the kernel's
/// there.
#[tokio::test]
async fn the_console_is_the_terminal_and_no_link_of_the_images() {
    if !root("the_console_is_the_terminal_and_no_link_of_the_images") {
        return;
    }
    let mut stage = Stage::set().await;
    let outside = Outside::make(&stage);
    let image = Archive::default()
        .directory("dev/")
        .directory("dev/pts/")
        .symlink("dev/console", &outside.kept())
        .symlink("dev/ptmx", &outside.kept())
        .symlink("dev/pts/0", "/proc/sys/kernel/core_pattern");
    let digest = stage.image_with(
        image,
        r#"{"Entrypoint":["/bin/probe","show","/dev/console","/proc/self/fd/0"]}"#,
    );
    let log =
        run_one(&stage, &service("console", digest, "    tty: true\n")).await.expect("started");
    let lines: Vec<&str> = log.lines().map(str::trim_end).collect();
    assert_eq!(lines, ["/dev/console is device 136:0", "/proc/self/fd/0 is device 136:0"]);
    outside.assert_untouched("console");
}

/// CVE-2019-16884, CVE-2025-52881 (runc) and CVE-2025-62596 (youki): a file system of the image's
/// over parts of `/proc` redirects what the runtime writes there: labels, kernel parameters. A
/// runtime with the defect writes the parameter to a file of the image's choice, or leaves the
/// kernel's unprotected. Here labels are never written, volumes of an image are kept out, and
/// parameters go to the kernel's own files.
#[tokio::test]
async fn nothing_lies_over_the_kernels_files_when_they_are_written() {
    if !root("nothing_lies_over_the_kernels_files_when_they_are_written") {
        return;
    }
    let mut stage = Stage::set().await;
    let places = ["/proc/sys", "/proc/self/attr", "/sys/kernel", "/dev/null", "//./proc//sys"];
    let mut services = String::new();
    for (number, place) in places.iter().enumerate() {
        let process =
            format!(r#"{{"Entrypoint":["/bin/probe","guards"],"Volumes":{{"{place}":{{}}}}}}"#);
        services.push_str(&service(&format!("shadowed-{number}"), stage.image(&process), ""));
    }
    for (place, found) in places.iter().zip(run(&stage, false, &services).await) {
        let error = found.expect_err(place);
        assert!(
            error.contains("is where the kernel's file systems are") && error.contains(place),
            "{error}"
        );
    }
    // What the image has below `/proc` is hidden by the kernel's.
    let image = Archive::default()
        .directory("proc/")
        .directory("proc/sys/")
        .directory("proc/sys/kernel/")
        .symlink("proc/sys/kernel/shmmni", "/proc/sys/kernel/core_pattern")
        .symlink("proc/self", "/etc");
    let process = r#"{"Entrypoint":["/bin/probe","get","/proc/sys/kernel/shmmni"]}"#;
    let digest = stage.image_with(image, process);
    let parameter = service("parameter", digest, "    sysctls: {kernel.shmmni: 77}\n");
    let log = run_one(&stage, &parameter).await.expect("started");
    assert!(log.trim_end().ends_with(" 77"), "{log}");
}

/// What the runtime is told of a container has no label to write anywhere, and no hook to run.
#[tokio::test]
async fn no_labels_and_no_hooks() {
    if !root("no_labels_and_no_hooks") {
        return;
    }
    let mut stage = Stage::set().await;
    let digest = stage.image(r#"{"Entrypoint":["/bin/probe","sleep"]}"#);
    let app =
        stage.start(&format!("services:\n{}", service("told", digest, ""))).await.expect("started");
    let told = stage.directory.path().join("run/containers/told-1/config.json");
    let told = fs::read_to_string(told).expect("specification");
    for key in ["apparmorProfile", "selinuxLabel", "mountLabel", "hooks"] {
        assert!(!told.contains(key), "{key}: {told}");
    }
    assert!(told.contains(r#""noNewPrivileges":true"#), "{told}");
    stop_at_once(&app).await;
}

/// Ends an app whose processes do not hear what asks them to.
async fn stop_at_once(app: &App) {
    for status in app.status() {
        if let ContainerState::Running { pid } = status.state {
            let pid = nix::unistd::Pid::from_raw(pid);
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it runs");
        }
    }
    app.stop().await;
}
