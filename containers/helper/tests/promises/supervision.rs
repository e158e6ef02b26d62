//! Promise: containers start in the order of what they need, come again when they end, end in
//! reverse order with their grace, and outlive the agent that started them.
//!
//! As in `running`, each test has mounts and a network of its own; all of them need root. Cgroups
//! are one tree for all, so that no two tests may have a service of the same name.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use containers::app::{App, AppState, Happening, HealthState};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::registry::{Behaviour, Certificate, blob, listen, status};
use crate::root;
use crate::running::{Stage, pid, service, spec, until};

/// Names the directory for the process that plays an agent.
const AGENT_DIRECTORY: &str = "CONTAINERS_TEST_AGENT_DIRECTORY";

/// Ends at once; the probe, as the first process, would not hear SIGTERM.
const AT_ONCE: &str = "    stop_signal: SIGKILL\n";

fn kill_process(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
}

/// What happened, as `ID: WHAT`, without notes of the app itself.
fn history(app: &App) -> Vec<String> {
    let line = |event: containers::app::AppEvent| {
        event.subject.map(|subject| format!("{subject}: {}", event.what))
    };
    app.events_after(0).into_iter().filter_map(line).collect()
}

#[tokio::test]
async fn an_image_whose_registry_is_away_at_first_is_asked_for_again() {
    if !root("an_image_whose_registry_is_away_at_first_is_asked_for_again") {
        return;
    }
    let mut stage = Stage::set().await;
    let digest = stage.image(r#"{"Entrypoint":["/bin/probe","sleep"]}"#);
    let (blobs, asked) = (stage.blobs.clone(), AtomicUsize::new(0));
    let server = listen(Certificate::None, move |request, out| {
        if asked.fetch_add(1, Ordering::Relaxed) == 0 {
            return status(out, 429, "retry-after: 6\n");
        }
        blob(&blobs, Behaviour::Honest, Behaviour::Honest, request, out)
    });
    let compose = format!("services:\n{}", service("away", digest, AT_ONCE));
    let app = App::start(spec(stage.directory.path(), &compose, vec![server.mirror()]));
    until(
        30,
        "the delay",
        || matches!(app.state(), AppState::Pulling(pull) if pull.delayed.is_some()),
    )
    .await;
    let AppState::Pulling(pull) = app.state() else { panic!("{:?}", app.state()) };
    let delayed = pull.delayed.expect("a reason");
    assert!(delayed.contains("service \"away\": image:") && delayed.contains("429"), "{delayed}");
    until(30, "the app to run", || app.state() == AppState::Running).await;
    let told = history(&app);
    assert!(told[0].ends_with("HTTP status 429; asked for again in 6000 ms"), "{told:?}");
    app.stop().await;
}

#[tokio::test]
async fn what_is_killed_comes_again() {
    if !root("what_is_killed_comes_again") {
        return;
    }
    let mut stage = Stage::set().await;
    let digest = stage.image(r#"{"Entrypoint":["/bin/probe","sleep"]}"#);
    let body = format!("    restart: always\n{AT_ONCE}");
    let app = stage
        .start(&format!("services:\n{}", service("killed", digest, &body)))
        .await
        .expect("started");
    for restarts in 1..3 {
        let first = pid(&app, "killed-1").expect("running");
        kill_process(first);
        until(30, "another one", || pid(&app, "killed-1").is_some_and(|pid| pid != first)).await;
        assert_eq!(app.status()[0].restarts, restarts);
    }
    until(30, "the app to be whole", || app.state() == AppState::Running).await;
    app.stop().await;
    assert!(
        history(&app).contains(&"killed-1: starts again in 200 ms".to_owned()),
        "{:?}",
        history(&app)
    );
}

#[tokio::test]
async fn a_service_waits_until_what_it_needs_is_healthy() {
    if !root("a_service_waits_until_what_it_needs_is_healthy") {
        return;
    }
    let mut stage = Stage::set().await;
    let digest = stage.image(r#"{"Entrypoint":["/bin/probe"]}"#);
    let db = "    command: ready 700\n    healthcheck: {test: [CMD, /bin/probe, exists, /ready], interval: 5s}\n";
    let web = "    command: sleep\n    depends_on: {base: {condition: service_healthy}}\n";
    let [db, web] = [("base", db), ("upper", web)]
        .map(|(name, body)| service(name, digest, &format!("{body}{AT_ONCE}")));
    let app = stage.start(&format!("services:\n{web}{db}")).await.expect("started");
    let status = app.status();
    assert_eq!(
        (status[0].health, status[1].health),
        (None, Some(HealthState::Healthy)),
        "{:?}",
        history(&app)
    );
    let waited =
        status[0].started.zip(status[1].started).and_then(|(web, db)| web.duration_since(db).ok());
    let waited = waited.expect("web later than db");
    assert!(waited >= Duration::from_millis(700) && waited < Duration::from_secs(5), "{waited:?}");
    app.stop().await;
    let history = history(&app);
    let place = |line: &str| history.iter().position(|found| found == line).expect(line);
    assert!(place("base-1: healthy") < place("upper-1: started"), "{history:?}");
    assert!(place("upper-1: asked to end") < place("base-1: asked to end"), "{history:?}");
}

#[tokio::test]
async fn the_end_is_in_reverse_order_and_each_has_its_grace() {
    if !root("the_end_is_in_reverse_order_and_each_has_its_grace") {
        return;
    }
    let mut stage = Stage::set().await;
    let digest = stage.image(r#"{"Entrypoint":["/bin/probe","sleep"]}"#);
    let db = service("last", digest, AT_ONCE);
    let web = service("first", digest, "    depends_on: [last]\n    stop_grace_period: 600ms\n");
    let app = stage.start(&format!("services:\n{web}{db}")).await.expect("started");
    let asked = std::time::Instant::now();
    app.stop().await;
    let took = asked.elapsed();
    assert!(took >= Duration::from_millis(600) && took < Duration::from_secs(9), "{took:?}");
    let asked = |line: &String| {
        line.ends_with("asked to end") || line.ends_with("did not end in time, killed")
    };
    let end: Vec<String> = history(&app).into_iter().filter(asked).collect();
    assert_eq!(
        end,
        ["first-1: asked to end", "first-1: did not end in time, killed", "last-1: asked to end"]
    );
    assert!(!stage.directory.path().join("run/app.json").exists(), "nothing to take over is left");
}

/// Another process that starts the app of the directory: the test that asks for it, begun again.
fn agent(directory: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            "supervision::containers_outlive_their_agent_and_the_next_one_takes_them_over",
            "--nocapture",
        ])
        .env(AGENT_DIRECTORY, directory)
        .stdout(Stdio::null())
        .spawn()
        .expect("this program runs")
}

/// What that process does, until it is killed.
async fn be_an_agent(directory: &Path) {
    let compose = std::fs::read_to_string(directory.join("compose.yml")).expect("compose file");
    let app = App::start(spec(directory, &compose, Vec::new()));
    let _ = app.states().wait_for(|state| *state == AppState::Running).await;
    let pids: Vec<String> = app
        .status()
        .iter()
        .filter_map(|status| pid(&app, &status.id))
        .map(|p| p.to_string())
        .collect();
    std::fs::write(directory.join("pids.new"), pids.join(" ")).expect("file");
    std::fs::rename(directory.join("pids.new"), directory.join("pids")).expect("file");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn containers_outlive_their_agent_and_the_next_one_takes_them_over() {
    if let Some(directory) = std::env::var_os(AGENT_DIRECTORY) {
        return be_an_agent(Path::new(&directory)).await;
    }
    if !root("containers_outlive_their_agent_and_the_next_one_takes_them_over") {
        return;
    }
    let mut stage = Stage::set().await;
    let digest = stage.image(r#"{"Entrypoint":["/bin/probe","sleep"]}"#);
    let body = format!("    restart: always\n{AT_ONCE}");
    let services: String = ["kept", "ended"].map(|name| service(name, digest, &body)).concat();
    let compose = format!("services:\n{services}");
    stage.start(&compose).await.expect("started").stop().await;
    let directory = stage.directory.path();
    std::fs::write(directory.join("compose.yml"), &compose).expect("file");

    let mut first = agent(directory);
    until(30, "the other process's containers", || directory.join("pids").exists()).await;
    first.kill().expect("it runs");
    first.wait().expect("it ends");
    let pids = std::fs::read_to_string(directory.join("pids")).expect("pids");
    let pids: Vec<i32> = pids.split(' ').map(|pid| pid.parse().expect("number")).collect();
    assert!(
        pids.iter().all(|pid| Path::new(&format!("/proc/{pid}")).exists()),
        "containers go on: {pids:?}"
    );
    kill_process(pids[1]);
    until(30, "its end", || !Path::new(&format!("/proc/{}", pids[1])).exists()).await;

    let app = stage.start(&compose).await.expect("taken over");
    until(30, "both", || pid(&app, "ended-1").is_some_and(|pid| pid != pids[1])).await;
    assert_eq!(pid(&app, "kept-1"), Some(pids[0]), "the same process");
    let restarts: Vec<u32> = app.status().iter().map(|status| status.restarts).collect();
    assert_eq!(restarts, [0, 1]);
    let taken = |event: &containers::app::AppEvent| event.what == Happening::TakenOver;
    assert_eq!(
        app.events_after(0).iter().filter(|event| taken(event)).count(),
        1,
        "{:?}",
        history(&app)
    );
    kill_process(pids[0]);
    until(30, "another one", || pid(&app, "kept-1").is_some_and(|pid| pid != pids[0])).await;
    app.stop().await;
}
