//! Promise: whatever a container does, what ends is ended whole and in time, and nothing of it is
//! left behind.
//!
//! As in `running`, each test has mounts and a network of its own; all of them need root.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use container_helper::End;
use containers::app::{App, ContainerState, Happening};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::root;
use crate::running::{Stage, ended, pid, service, until, within};

fn cgroup(id: &str) -> PathBuf {
    Path::new("/sys/fs/cgroup/dstyx").join(id)
}

/// Every process of a container, commands included.
fn processes(id: &str) -> Vec<i32> {
    let mut found = Vec::new();
    let mut directories = vec![cgroup(id)];
    while let Some(directory) = directories.pop() {
        let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
        found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
        directories.extend(
            fs::read_dir(directory)
                .into_iter()
                .flatten()
                .flatten()
                .map(|e| e.path())
                .filter(|p| p.is_dir()),
        );
    }
    found
}

/// Those that still run; what a container's first process does not take note of stays as a name
/// only.
fn alive(pids: &[i32]) -> Vec<i32> {
    let runs = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
    };
    pids.iter().copied().filter(runs).collect()
}

/// Asserts that a removed container has left nothing but its log: processes, cgroup, files, mounts,
/// network.
fn assert_nothing_left(stage: &Stage, id: &str) {
    assert!(!cgroup(id).exists(), "{id}: cgroup");
    let directory = stage.directory.path();
    for path in ["run/containers", "run/ids", "data/containers"] {
        assert!(!directory.join(path).join(id).exists(), "{id}: {path}");
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let left: Vec<&str> = mounts.lines().filter(|line| line.contains(id)).collect();
    assert!(left.is_empty(), "{id}: {left:?}");
    let namespaces = fs::read_dir(directory.join("run/netns")).into_iter().flatten().flatten();
    let left: Vec<_> =
        namespaces.map(|entry| entry.file_name()).filter(|name| name == id).collect();
    assert!(left.is_empty(), "{id}: {left:?}");
}

fn failed_checks(app: &App) -> Vec<String> {
    let message = |event: containers::app::AppEvent| match event.what {
        Happening::CheckFailed { message } => Some(message),
        _ => None,
    };
    app.events_after(0).into_iter().filter_map(message).collect()
}

/// The parent of a process: for a container's first process, its helper.
fn parent(pid: i32) -> i32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("parent");
    line.trim().parse().expect("number")
}

#[tokio::test]
async fn a_command_that_takes_too_long_ends_with_all_that_it_started() {
    if !root("a_command_that_takes_too_long_ends_with_all_that_it_started") {
        return;
    }
    let mut stage = Stage::set().await;
    let digest = stage.image(r#"{"Entrypoint":["/bin/probe","sleep"]}"#);
    // The command prints all the while, as fast as it can, and so does the child that it leaves
    // behind.
    let check = "{test: [CMD, /bin/probe, linger], interval: 100ms, timeout: 500ms, retries: 1000}";
    let body = format!("    stop_signal: SIGKILL\n    healthcheck: {check}\n");
    let app = stage.begin(false, &format!("services:\n{}", service("lingers", digest, &body)));
    until(60, "a start", || pid(&app, "lingers-1").is_some()).await;
    let first = pid(&app, "lingers-1").expect("it runs");
    until(60, "a command", || processes("lingers-1").len() >= 4).await;
    let pids: Vec<i32> = processes("lingers-1").into_iter().filter(|pid| *pid != first).collect();
    let begun = Instant::now();
    until(60, "its end", || alive(&pids).is_empty()).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    until(60, "the report", || failed_checks(&app).len() >= 2).await;
    assert!(
        failed_checks(&app).iter().all(|message| message == "it took too long"),
        "{:?}",
        failed_checks(&app)
    );
    assert_eq!(pid(&app, "lingers-1"), Some(first), "the container goes on");
    within(10, "stopping", app.stop()).await;
    assert_nothing_left(&stage, "lingers-1");
}

#[tokio::test]
async fn a_flood_of_output_stays_within_its_files_and_holds_nothing_up() {
    if !root("a_flood_of_output_stays_within_its_files_and_holds_nothing_up") {
        return;
    }
    const MAX_BYTES: u64 = 256 << 10;
    let mut stage = Stage::set().await;
    let digest = stage.image(r#"{"Entrypoint":["/bin/probe","flood"]}"#);
    let logging = "{driver: json-file, options: {max-size: 256k, max-file: '3'}}";
    let check = "{test: [CMD, /bin/probe, exists, /bin/probe], interval: 100ms}";
    let body =
        format!("    stop_signal: SIGKILL\n    logging: {logging}\n    healthcheck: {check}\n");
    let app = stage
        .start(&format!("services:\n{}", service("floods", digest, &body)))
        .await
        .expect("started");
    let (begun, mut most) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(3) {
        let logs = fs::read_dir(stage.directory.path().join("log")).expect("logs").flatten();
        let sizes: Vec<u64> =
            logs.filter_map(|entry| entry.metadata().ok()).map(|stat| stat.len()).collect();
        assert!(sizes.len() <= 3 && sizes.iter().all(|size| *size <= MAX_BYTES), "{sizes:?}");
        most = most.max(sizes.len());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(most, 3, "files were set aside");
    // The helper listens all the while.
    until(60, "health", || app.status()[0].health == Some(containers::app::HealthState::Healthy))
        .await;
    within(10, "stopping", app.stop()).await;
    assert_nothing_left(&stage, "floods-1");
}

#[tokio::test]
async fn a_storm_of_processes_ends_whole() {
    if !root("a_storm_of_processes_ends_whole") {
        return;
    }
    let mut stage = Stage::set().await;
    let digest = stage.image(r#"{"Entrypoint":["/bin/probe","storm"]}"#);
    // Where the kernel has no controller for processes, this one bounds them by user.
    let body = "    stop_signal: SIGKILL\n    ulimits: {nproc: 200}\n    user: '33'\n    pids_limit: 200\n";
    let bounded =
        fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").expect("cgroup2").contains("pids");
    let body = if bounded { body } else { body.split("    pids_limit").next().expect("text") };
    let app = stage
        .start(&format!("services:\n{}", service("storms", digest, body)))
        .await
        .expect("started");
    until(60, "a storm", || processes("storms-1").len() > 100).await;
    let pids = processes("storms-1");
    within(20, "stopping", app.stop()).await;
    assert_eq!(alive(&pids), [] as [i32; 0]);
    assert_nothing_left(&stage, "storms-1");
}

#[tokio::test]
async fn a_helper_that_is_killed_ends_its_container() {
    if !root("a_helper_that_is_killed_ends_its_container") {
        return;
    }
    let mut stage = Stage::set().await;
    let digest = stage.image(r#"{"Entrypoint":["/bin/probe","linger"]}"#);
    let body = "    volumes: ['one:/one', 'two:/two']\n";
    let compose = format!(
        "services:\n{}volumes: {{one: {{}}, two: {{}}}}\n",
        service("orphan", digest, body)
    );
    let app = stage.start(&compose).await.expect("started");
    until(60, "its child", || processes("orphan-1").len() == 2).await;
    let pids = processes("orphan-1");
    let helper = parent(pid(&app, "orphan-1").expect("it runs"));
    assert_eq!(
        fs::read_link(format!("/proc/{helper}/exe")).expect("helper"),
        Path::new(env!("CARGO_BIN_EXE_container-helper"))
    );
    kill(Pid::from_raw(helper), Signal::SIGKILL).expect("it runs");
    within(20, "its end", ended(&app)).await;
    let state = app.status()[0].state.clone();
    let expected = "the helper ended without a report".to_owned();
    assert_eq!(state, ContainerState::Ended(End::Failed { message: expected }));
    until(60, "its processes", || alive(&pids).is_empty()).await;
    within(20, "stopping", app.stop()).await;
    assert_nothing_left(&stage, "orphan-1");
    let again = stage.start(&compose).await.expect("the same directories serve again");
    kill(Pid::from_raw(pid(&again, "orphan-1").expect("it runs")), Signal::SIGKILL)
        .expect("it runs");
    again.stop().await;
}

#[tokio::test]
async fn directories_deeper_than_anybody_may_have_open_are_removed() {
    if !root("directories_deeper_than_anybody_may_have_open_are_removed") {
        return;
    }
    let mut stage = Stage::set().await;
    let digest = stage.image(r#"{"Entrypoint":["/bin/probe","deep","30000"]}"#);
    let app =
        stage.start(&format!("services:\n{}", service("deep", digest, ""))).await.expect("started");
    within(60, "making them", ended(&app)).await;
    assert!(stage.log("deep").contains("made 30000"), "{}", stage.log("deep"));
    within(60, "stopping", app.stop()).await;
    assert_nothing_left(&stage, "deep-1");
}

/// Where the kernel cannot count memory, a limit is not silently left out.
#[tokio::test]
async fn a_memory_limit_bites_or_is_refused() {
    if !root("a_memory_limit_bites_or_is_refused") {
        return;
    }
    let mut stage = Stage::set().await;
    let digest = stage.image(r#"{"Entrypoint":["/bin/probe","eat"]}"#);
    let compose = format!("services:\n{}", service("eats", digest, "    mem_limit: 32m\n"));
    let counts = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")
        .expect("cgroup2")
        .contains("memory");
    match stage.start(&compose).await {
        Ok(app) => {
            assert!(counts, "there is nothing that bounds it");
            within(30, "its end", ended(&app)).await;
            assert_eq!(
                app.status()[0].state,
                ContainerState::Ended(End::Killed { signal: 9, oom: true })
            );
            app.stop().await;
        }
        Err(error) => {
            assert!(!counts && error.contains("the kernel cannot bound memory.max"), "{error}")
        }
    }
    assert_nothing_left(&stage, "eats-1");
}
