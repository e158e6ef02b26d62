//! A real app in one guest: nginx, redis and PostgreSQL around a Python program, two programs on
//! dstack's SDKs, and five that are kept in.
//!
//! What kills is a service of the app itself, which its measured file allows (`danger_privileged`):
//! the guest has no back door to kill anything by.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::app_compose;
use protocol::event_log::{self, RuntimeEvent};
use protocol::event_name;
use protocol::handover::AGENT_PORT;
use protocol::image::Flavour;
use protocol::status::{Phase, Refusal};
use serde_json::{Value, json};
use tests::app::App;
use tests::guest::{Guest, Host};
use tests::images::Image;
use tests::lab;
use tests::registry::Registry;

use crate::{sandbox, sdk, sparse_disk};

/// Where nginx is, and who shows processes and kills them.
const FRONT: u16 = 8080;
pub const CHAOS: u16 = 8083;
/// Pulled, unpacked and started under emulation, with a new database cluster, on two loaded cores.
const TIMEOUT: Duration = Duration::from_secs(25 * 60);
/// The images of the app.
pub const IMAGES: [Image; 6] =
    [Image::Nginx, Image::Redis, Image::Postgres, Image::Python, Image::PythonSdk, Image::NodeSdk];
/// The containers of the app.
const CONTAINERS: [&str; 13] = [
    "redis-1",
    "db-1",
    "schema-1",
    "web-1",
    "front-1",
    "sdk-python-1",
    "sdk-node-1",
    "chaos-1",
    "confined-1",
    "shared-1",
    "attended-1",
    "greedy-1",
    "bounded-1",
];
/// The containers that are killed, each of which the app needs for its answer.
const KILLED: [&str; 4] = ["redis-1", "db-1", "web-1", "front-1"];

pub fn works_and_survives() {
    let registry = Registry::of(&IMAGES);
    let settings = [
        ("danger_privileged", json!(true)),
        ("public_sysinfo", json!(true)),
        ("public_logs", json!(true)),
    ];
    let source = lab::checkout().join("tests/vectors/apps/counter");
    let app = App::new(&source, "counter", &registry, &settings);
    let disks = tempfile::tempdir().unwrap();
    let host = Host {
        memory_mib: 3072,
        extra_disks: vec![sparse_disk(&disks, "extra.img")],
        ports: vec![
            FRONT,
            sdk::PYTHON,
            sdk::NODE,
            CHAOS,
            sandbox::CONFINED,
            sandbox::SHARED,
            sandbox::GREEDY,
        ],
        timeout: TIMEOUT,
        ..app.host(&registry)
    };
    let mut guest = host.start(&lab::image(Flavour::Dev));
    let running = guest.reached(Phase::AppRunning).unwrap();
    let outcome = (running.phase, running.refusal);
    assert_eq!(outcome, (Phase::AppRunning, Refusal::None), "{}", guest.all_logs(&CONTAINERS));
    println!("running after {:.0} s", guest.age().as_secs_f64());
    let first = visit(&guest);
    assert_eq!((&first["counted"], &first["stored"]), (&json!(1), &json!(1)), "{first}");
    sdk::python_calls(&guest);
    sdk::node_calls(&guest);
    sandbox::keeps_in(&guest);
    logs_have_times(&guest);
    guest.verified().passes();
    a_changed_app_is_told_by_its_key(&guest);
    for id in KILLED {
        survives_the_kill_of(&guest, id);
    }
    survives_the_kill_of_the_agent(&guest);
    // The agent that came back looks after containers that an earlier one started.
    survives_the_kill_of(&guest, "web-1");
    println!("done after {:.0} s", guest.age().as_secs_f64());
}

/// What the app answers, once it does.
pub fn visit(guest: &Guest) -> Value {
    let answer = || json_of(guest, FRONT, "/").filter(|answer| answer["counted"].is_u64());
    guest.until("the app does not answer", answer)
}

/// Lines of a log begin with their time where that is asked for, and can be chosen by it.
fn logs_have_times(guest: &Guest) {
    let lines = |query: &str| {
        let log = guest.get(AGENT_PORT, &format!("/logs/db-1?text&bare{query}")).unwrap();
        String::from_utf8(log).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let (plain, timed) = (lines(""), lines("&timestamps"));
    assert!(plain.len() > 1 && timed.len() >= plain.len(), "{plain:?} {timed:?}");
    let time = |line: &String| line.split(' ').next().unwrap().to_owned();
    for (line, timed) in plain.iter().zip(&timed) {
        let (time, text) = timed.split_once(' ').unwrap();
        assert!(time.len() == 30 && time.starts_with("20") && time.ends_with('Z'), "{timed}");
        assert_eq!(text, line);
    }
    let last = lines(&format!("&timestamps&since={}", time(timed.last().unwrap())));
    assert!(last.contains(timed.last().unwrap()) && !last.contains(&timed[0]), "{last:?}");
    let first = lines(&format!("&timestamps&until={}", time(&timed[0])));
    assert_eq!(first[0], timed[0]);
    assert!(!first.contains(timed.last().unwrap()), "{first:?}");
}

/// What a port answers, if it is JSON.
pub fn json_of(guest: &Guest, port: u16, path: &str) -> Option<Value> {
    serde_json::from_slice(&guest.get(port, path)?).ok()
}

fn survives_the_kill_of(guest: &Guest, id: &str) {
    let before = visit(guest);
    let killed =
        first_process(&processes(guest, "/"), id).unwrap_or_else(|| panic!("{id} does not run"));
    processes(guest, &format!("/signal?pid={killed}&signal=SIGKILL"));
    let again = || first_process(&processes(guest, "/"), id).filter(|pid| *pid != killed);
    guest.until(&format!("{id} is not started again"), again);
    let after = visit(guest);
    for number in ["counted", "stored"] {
        let (before, after) = (before[number].as_u64(), after[number].as_u64());
        assert!(after > before, "{id} was killed, and {number} went from {before:?} to {after:?}");
    }
    println!("{id} was killed and came back, {:.0} s", guest.age().as_secs_f64());
}

fn survives_the_kill_of_the_agent(guest: &Guest) {
    let (events, before) = (events(guest), containers(guest));
    assert!(before.len() >= KILLED.len(), "{before:?}");
    let agent = agent(&processes(guest, "/")).expect("an agent");
    processes(guest, &format!("/signal?pid={agent}&signal=SIGKILL"));
    let again = || agent_of(guest).filter(|pid| *pid != agent);
    guest.until("the agent is not started again", again);
    guest.until("the agent does not answer again", || guest.get(AGENT_PORT, "/ps"));
    assert_eq!(containers(guest), before, "a container ended with the agent");
    visit(guest);
    guest.verified().passes();
    assert_eq!(self::events(guest), events, "an agent that starts again measures nothing again");
    println!("the agent was killed and came back, {:.0} s", guest.age().as_secs_f64());
}

/// The first process of each container, by the container's id.
pub fn containers(guest: &Guest) -> BTreeMap<String, u64> {
    let status = guest.until("no status", || json_of(guest, AGENT_PORT, "/ps"));
    let processes = processes(guest, "/");
    let ids = status["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|container| container["id"].as_str().unwrap());
    ids.filter_map(|id| Some((id.to_owned(), first_process(&processes, id)?))).collect()
}

/// The guest's processes, after what the path asks for.
pub fn processes(guest: &Guest, path: &str) -> Vec<Value> {
    let list = guest.until("processes are not shown", || json_of(guest, CHAOS, path));
    list.as_array().unwrap().clone()
}

/// Process 1 of a container's own numbering.
pub fn first_process(processes: &[Value], id: &str) -> Option<u64> {
    let group = format!("/{id}");
    let is_it = |process: &&Value| {
        process["inside"] == 1
            && process["contained"] == true
            && process["group"].as_str().unwrap().ends_with(&group)
    };
    processes.iter().find(is_it)?["pid"].as_u64()
}

pub fn agent(processes: &[Value]) -> Option<u64> {
    let is_it =
        |process: &&Value| process["name"] == "guest-agent" && process["contained"] == false;
    processes.iter().find(is_it)?["pid"].as_u64()
}

fn agent_of(guest: &Guest) -> Option<u64> {
    agent(&processes(guest, "/"))
}

/// What the guest has measured into RTMR3, each boot's event once.
fn events(guest: &Guest) -> Vec<RuntimeEvent> {
    let evidence: Value = serde_json::from_slice(&guest.evidence(&[1; 32])).unwrap();
    let log = event_log::parse(evidence["event_log"].to_string().as_bytes()).unwrap();
    let events = event_log::runtime_events(&log).unwrap();
    let boot = [
        event_name::COMPOSE_HASH,
        // The app's file allows it, before anything that a key depends on is complete.
        event_name::DANGER_PRIVILEGED,
        event_name::BOOT_MR_DONE,
        event_name::SYSTEM_READY,
    ];
    let found = events.iter().filter_map(|event| boot.iter().find(|name| **name == event.name));
    assert!(found.copied().eq(boot), "{events:?}");
    events
}

/// One byte of the compose file, or of a digest in it, is another app; the guest's published file
/// tells where.
fn a_changed_app_is_told_by_its_key(guest: &Guest) {
    let digest = guest.compose.find("@sha256:").unwrap() + "@sha256:".len();
    let word = guest.compose.find("Counts visits").unwrap();
    for (at, line) in [(word, "line 1: "), (digest, ": \"image: ")] {
        let mut compose = guest.compose.clone().into_bytes();
        compose[at] ^= 1;
        let compose = String::from_utf8(compose).unwrap();
        let mut document: Value = serde_json::from_slice(&guest.app_compose).unwrap();
        document["docker_compose_file"] = compose.as_str().into();
        let changed = document.to_string().into_bytes();
        app_compose::parse(&changed).unwrap();
        let verdict = guest.verified_as(&compose, &changed);
        verdict.fails(&["compose-hash", "app-id"]);
        let hint = verdict.hint("compose-hash");
        assert!(hint.contains("docker_compose_file, line ") && hint.contains(line), "{hint}");
    }
}
