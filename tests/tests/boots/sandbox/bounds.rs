//! Limits that bite, an init that reaps, and checks that take too long.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use protocol::handover::AGENT_PORT;
use serde_json::{Value, json};
use tests::guest::Guest;

use super::{CONFINED, GREEDY, first, read, report};
use crate::real_app::{agent, containers, json_of, processes, visit};

/// What `confined` may have, and what is left to it beside its own process.
const MEMORY_BYTES: &str = "67108864";
const PROCESSES: u64 = 24;
/// How long a busy program is watched.
const BUSY: Duration = Duration::from_secs(5);
/// The most of a processor that a container gets which may have a tenth: periods and clocks are
/// coarse under emulation.
const MOST: f64 = 0.2;

/// The container without limits.
const GREEDY_ID: &str = "greedy-1";
/// Processes of the storm that are waited for: far more than a service has. Under emulation the
/// whole limit takes minutes, and memory ends before it.
const STORM: u64 = 1000;

/// A container whose checks take too long, until told otherwise.
pub struct Slow(u64);

impl Slow {
    /// Tells the container by way of its init, whose signals are the program's.
    pub fn begun(guest: &Guest) -> Self {
        guest.until("attended is not healthy", || (health(guest) == "healthy").then_some(()));
        let init = first(guest, "attended-1");
        signal(guest, init, "SIGUSR1");
        Self(init)
    }

    /// The checks failed because they were killed; without a reason to fail they pass again, and
    /// nothing of them is left.
    pub fn ends(self, guest: &Guest) {
        guest.until("attended is healthy all the time", || {
            (health(guest) == "unhealthy").then_some(())
        });
        assert!(
            happened(guest, "attended-1", "health check failed: it took too long"),
            "{}",
            events(guest)
        );
        signal(guest, self.0, "SIGUSR2");
        guest.until("attended is never healthy again", || {
            (health(guest) == "healthy").then_some(())
        });
        let left = |process: &&Value| {
            process["group"].as_str().unwrap().contains("exec-") && process["name"] == "sleep"
        };
        assert_eq!(processes(guest, "/").iter().find(left), None);
        assert_eq!(
            first(guest, "attended-1"),
            self.0,
            "a container is not started again for its health"
        );
    }
}

/// Limits of each process: those of every container, and those that a file asks for; and what
/// stands in for a keyboard.
pub fn of_processes(guest: &Guest, confined: &Value) {
    assert_eq!(confined["limits"], json!({ "open files": [1024, 524_288], "core": [0, 0] }));
    let attended = first(guest, "attended-1");
    let limits = read(guest, &format!("/proc/{attended}/limits"));
    let limit = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    let found = [limit("Max open files"), limit("Max processes"), limit("Max core file size")];
    assert_eq!(found, [["100", "200"], ["50", "50"], ["0", "0"]]);
    let stdin = |id| read(guest, &format!("/proc/{}/fd/0", first(guest, id)));
    assert_eq!(stdin("confined-1"), "/dev/null");
    assert!(stdin("shared-1").starts_with("pipe:"), "{}", stdin("shared-1"));
    assert!(stdin("attended-1").starts_with("/dev/pts/"), "{}", stdin("attended-1"));
}

/// Processes, processor time and memory end where the file says.
pub fn bite(guest: &Guest) {
    let report = report(guest, CONFINED, "/");
    let (cgroup, swaps) = (&report["cgroup"], &report["swaps"]);
    assert_eq!(
        (&cgroup["memory.max"], &cgroup["pids.max"]),
        (&json!(MEMORY_BYTES), &json!(PROCESSES.to_string()))
    );
    // A kernel without swap has none of the files.
    assert!(cgroup["memory.swap.max"] == "ENOENT" && *swaps == "ENOENT", "{cgroup} {swaps}");
    let forks = json_of(guest, CONFINED, "/processes");
    assert_eq!(forks, Some(json!({ "started": PROCESSES - 1, "error": "EAGAIN" })));
    processor_time_is_bounded(guest);
    memory_is_bounded(guest);
}

fn processor_time_is_bounded(guest: &Guest) {
    let bounded = first(guest, "bounded-1");
    signal(guest, bounded, "SIGUSR1");
    let before = (Instant::now(), usage(guest, bounded));
    std::thread::sleep(BUSY);
    let (micros, throttled) = usage(guest, bounded);
    let share = (micros - before.1.0) as f64 / before.0.elapsed().as_micros() as f64;
    assert!(
        share > 0.02 && share < MOST && throttled > before.1.1,
        "{share} of a processor, throttled {throttled} times"
    );
    signal(guest, bounded, "SIGKILL");
}

/// Microseconds of processor time, and how often there was none left.
fn usage(guest: &Guest, first: u64) -> (u64, u64) {
    let text = read(guest, &format!("/proc/{first}/root/sys/fs/cgroup/cpu.stat"));
    let value = |key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim().parse().unwrap()
    };
    (value("usage_usec "), value("nr_throttled "))
}

/// Who takes more is killed whole, `ps` and the events say why, and the file's policy starts it
/// again.
fn memory_is_bounded(guest: &Guest) {
    let before = container(guest, "confined-1")["restarts"].as_u64().unwrap();
    assert_eq!(json_of(guest, CONFINED, "/memory"), None, "a gibibyte in 64 mebibytes");
    let again = || {
        container(guest, "confined-1")["restarts"].as_u64().filter(|restarts| *restarts > before)
    };
    guest.until("confined is not started again", again);
    assert!(
        happened(guest, "confined-1", "killed by signal 9, out of memory"),
        "{}",
        events(guest)
    );
    report(guest, CONFINED, "/");
}

/// A container without limits that fills pages which no process has mapped, then one that forks
/// without end: it is bounded, and all others, the agent and the helpers go on as they were.
pub fn one_does_not_take_the_guest(guest: &Guest) {
    scores_survive(guest);
    // The guest's own view of control groups.
    let groups = format!("/proc/{}/root/sys/fs/cgroup/dstyx", first(guest, "shared-1"));
    let number = |path: &str| -> u64 {
        let text = read(guest, path);
        text.trim().parse().unwrap_or_else(|_| panic!("{path} is {text:?}"))
    };
    let threads = number("/proc/sys/kernel/threads-max");
    let meminfo = read(guest, "/proc/meminfo");
    let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
    let kib: u64 = kib.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    assert!(number(&format!("{groups}/memory.max")) < kib * 1024, "of {kib} KiB");
    assert!(number(&format!("{groups}/pids.max")) < threads, "of {threads}");

    let before = others(guest);
    let restarts = restarts(guest, GREEDY_ID);
    assert_eq!(json_of(guest, GREEDY, "/pages"), None, "all memory that there is");
    let again = |ends: u64| {
        let enough = || (self::restarts(guest, GREEDY_ID) >= restarts + ends).then_some(());
        guest.until("greedy is not started again", enough);
    };
    again(1);
    assert!(happened(guest, GREEDY_ID, "killed by signal 9, out of memory"), "{}", events(guest));
    visit(guest);
    assert_eq!(others(guest), before, "what has nothing to do with it ended");

    guest.until("greedy does not answer", || json_of(guest, GREEDY, "/storm"));
    let greedy = first(guest, GREEDY_ID);
    let [most, now] = ["max", "current"].map(|file| format!("{groups}/{GREEDY_ID}/pids.{file}"));
    assert!(number(&most) < number(&format!("{groups}/pids.max")), "something is left for others");
    guest.until("greedy does not fork without end", || (number(&now) >= STORM).then_some(()));
    // While all those are there, others start processes: of their own, and commands of the agent.
    let forks = json_of(guest, CONFINED, "/processes");
    assert_eq!(forks, Some(json!({ "started": PROCESSES - 1, "error": "EAGAIN" })));
    assert_eq!(health(guest), "healthy");
    visit(guest);
    signal(guest, greedy, "SIGKILL");
    again(2);
    assert_eq!(others(guest), before, "what has nothing to do with it ended");
}

/// Agent and helpers are ended last; containers, and what is started in them, as anything else.
fn scores_survive(guest: &Guest) {
    let processes = processes(guest, "/");
    // None for a process that ended since it was listed, as a container may.
    let score = |process: &Value| -> Option<i32> {
        let text = read(guest, &format!("/proc/{}/oom_score_adj", process["pid"]));
        match text.trim() {
            "ENOENT" | "ESRCH" => None,
            score => Some(score.parse().unwrap_or_else(|_| panic!("{score:?} of {process}"))),
        }
    };
    let agent = agent(&processes).unwrap();
    // The children of a helper are commands on their way into its container, and bear its name
    // until they are there.
    let helper = |process: &&Value| {
        process["name"] == "container-helpe" && process["parent"].as_u64() == Some(agent)
    };
    let helpers: Vec<_> = processes.iter().filter(helper).collect();
    let scores: Vec<i32> = helpers.iter().filter_map(|helper| score(helper)).collect();
    assert!(scores.len() >= containers(guest).len() - 1, "{helpers:?}");
    assert!(scores.iter().all(|score| *score == -999), "{scores:?} of {helpers:?}");
    let agent = processes.iter().find(|process| process["pid"] == agent).unwrap();
    assert_eq!(score(agent), Some(-999));
    for (id, first) in containers(guest) {
        assert_eq!(score(&json!({ "pid": first })), Some(0), "{id}");
    }
}

/// The agent and the first process of every container but the greedy one.
fn others(guest: &Guest) -> (Option<u64>, BTreeMap<String, u64>) {
    let mut containers = containers(guest);
    containers.remove(GREEDY_ID);
    (agent(&processes(guest, "/")), containers)
}

fn restarts(guest: &Guest, id: &str) -> u64 {
    container(guest, id)["restarts"].as_u64().unwrap()
}

/// The orphan that the program left is gone; its parameters and its terminal are as the file says.
pub fn an_init_reaps_and_a_terminal_is_one(guest: &Guest) {
    let log =
        String::from_utf8(guest.get(AGENT_PORT, "/logs/attended-1?text&bare").unwrap()).unwrap();
    let lines: Vec<&str> = log.lines().map(str::trim_end).collect();
    for line in ["a terminal", "somaxconn 99", "msgmax 4321"] {
        assert!(lines.contains(&line), "{line}: {log}");
    }
    // The databases of PostgreSQL: a directory of the volume.
    assert!(lines.contains(&"1"), "{log}");
    let orphan: u64 =
        lines.iter().find_map(|line| line.strip_prefix("orphan ")).unwrap().parse().unwrap();
    let list = processes(guest, "/");
    let own: Vec<_> = list
        .iter()
        .filter(|process| process["group"].as_str().unwrap().ends_with("/attended-1"))
        .collect();
    let init = own.iter().find(|process| process["inside"] == 1).unwrap();
    assert_eq!(init["name"], "init", "{own:?}");
    assert!(
        own.iter().all(|process| process["inside"] != orphan && process["state"] != "Z"),
        "{orphan}: {own:?}"
    );
}

fn signal(guest: &Guest, process: u64, name: &str) {
    processes(guest, &format!("/signal?pid={process}&signal={name}"));
}

/// What `ps` says of a container.
fn container(guest: &Guest, id: &str) -> Value {
    let status = guest.until("no status", || json_of(guest, AGENT_PORT, "/ps"));
    status["containers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|container| container["id"] == id)
        .unwrap()
        .clone()
}

fn health(guest: &Guest) -> String {
    container(guest, "attended-1")["health"].as_str().unwrap_or_default().to_owned()
}

fn events(guest: &Guest) -> Value {
    guest.until("no events", || json_of(guest, AGENT_PORT, "/events"))
}

fn happened(guest: &Guest, id: &str, what: &str) -> bool {
    let events = events(guest);
    let is_it =
        |event: &Value| event["subject"] == id && event["what"].as_str().unwrap().starts_with(what);
    events["events"].as_array().unwrap().iter().any(is_it)
}
