//! What containers ask of the agent: calls a second on this machine beside a bare echo, and the
//! agent's memory in a guest that idles.

use std::process::Command;
use std::time::Duration;

use protocol::app_compose;
use tests::guest::Host;
use tests::lab;
use tests::mirror::Mirror;

use super::{AGENT_PORT, HELLO_PORT, answered, image, row};

/// The agent is a program without a library: its own test measures, and prints this line with both
/// numbers.
const MEASURED_BY: &str = "http::tests::one_connection_carries_many_calls";
const FIGURE: &str = "FIGURE calls a second:";
/// After which an agent that did its work idles.
const SETTLED: Duration = Duration::from_secs(3);

/// Calls a second.
pub fn calls() {
    let mut test = Command::new(env!("CARGO"));
    test.args([
        "test",
        "--release",
        "--quiet",
        "--package",
        "guest-agent",
        "--",
        "--nocapture",
        "--exact",
        MEASURED_BY,
    ]);
    let output =
        test.env("DSTYX_BENCH_CALLS", "20000").current_dir(lab::checkout()).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let line = printed
        .lines()
        .find_map(|line| line.split_once(FIGURE))
        .expect("the test prints its figure")
        .1;
    let numbers: Vec<f64> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let [ours, echo] = numbers[..] else { panic!("{line}") };
    let peer = format!("bare hyper echo: {echo:.0}");
    row(
        "GetKey calls a second, one connection",
        &format!("{ours:.0}"),
        &peer,
        Some(ours / echo),
        "",
    );
}

/// What the agent takes when it has nothing to do.
pub fn memory() {
    let compose =
        std::fs::read_to_string(lab::checkout().join("examples/hello/docker-compose.yml")).unwrap();
    let file = String::from_utf8(app_compose::generate("bench", &compose).unwrap()).unwrap();
    let public = file.replace(r#""public_sysinfo":false"#, r#""public_sysinfo":true"#);
    let mirror = Mirror::honest();
    let host = Host {
        app_compose: Some(public.into_bytes()),
        compose,
        mirrors: vec![mirror.address.clone()],
        ports: vec![HELLO_PORT],
        ..Host::default()
    };
    let guest = host.start(&image());
    answered(&guest, HELLO_PORT, "/");
    std::thread::sleep(SETTLED);
    let metrics = String::from_utf8(guest.get(AGENT_PORT, "/metrics").unwrap()).unwrap();
    let bytes =
        metrics.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
    let megabytes = bytes.unwrap().parse::<f64>().unwrap() / 1e6;
    row(
        "the agent's memory, one service running",
        &format!("{megabytes:.1} MB"),
        "",
        None,
        "≤ 20 MB",
    );
}
