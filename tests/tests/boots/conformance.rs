//! What compose-spec's conformance tests expect of networks, scaling, configs, secrets, binds and
//! ports, one guest each, with a stand-in for their images.

use std::net::UdpSocket;
use std::time::Duration;

use libtest_mimic::Trial;
use protocol::image::Flavour;
use protocol::status::{Phase, Refusal};
use tests::app::App;
use tests::guest::{Guest, Host};
use tests::images::Image;
use tests::lab;
use tests::registry::Registry;

use crate::trial;

/// Where the server of each file is published.
const SERVER: u16 = 8080;
/// Where the server of `udp_port` echoes.
const ECHO: u16 = 10001;
/// One app of static programs.
const TIMEOUT: Duration = Duration::from_secs(600);

/// What must be so in the guest of a file.
type Promise = fn(&mut Guest);

/// Directory of a file, and its promise.
static FILES: [(&str, Promise); 8] = [
    ("simple_lifecycle", starts_and_stops),
    ("simple_network", |guest| {
        says(guest, "/ping?address=target:8080/ping", 200, "PONG FROM TARGET");
        let nobody = "/ping?address=notatarget:8080/ping";
        says(guest, nobody, 400, "Could not reach address: notatarget:8080/ping");
    }),
    ("different_networks", |guest| {
        says(guest, "/ping", 200, "PONG FROM TARGET");
        let other = "/ping?address=target:8080/ping";
        says(guest, other, 400, "Could not reach address: target:8080/ping");
    }),
    ("simple_configfile", |guest| {
        says(guest, "/volumefile?filename=words.txt", 200, "as a config")
    }),
    ("simple_secretfile", |guest| {
        says(guest, "/volumefile?filename=words.txt", 200, "as a secret")
    }),
    ("simple_volume", |guest| says(guest, "/volumefile?filename=words.txt", 200, "as a bind")),
    ("udp_port", |guest| {
        says(guest, "/ping", 200, "PONG FROM TARGET");
        echoes(guest);
    }),
    ("scaling", three_clients_report),
];

/// One boot each.
pub fn trials() -> impl Iterator<Item = Trial> {
    FILES.iter().map(|(name, promise)| {
        trial(format!("conformance: {name}"), move || promise(&mut started(name)))
    })
}

fn started(name: &str) -> Guest {
    let registry = Registry::of(&[Image::ConformanceServer, Image::ConformanceClient]);
    let source = lab::checkout().join("tests/vectors/compose/conformance").join(name);
    let app = App::new(&source, "conformance", &registry, &[("public_sysinfo", true.into())]);
    let host = Host {
        ports: vec![SERVER],
        udp_ports: vec![ECHO],
        timeout: TIMEOUT,
        ..app.host(&registry)
    };
    let mut guest = host.start(&lab::image(Flavour::Dev));
    let running = guest.reached(Phase::AppRunning).unwrap();
    assert_eq!(
        (running.phase, running.refusal),
        (Phase::AppRunning, Refusal::None),
        "{}",
        guest.console()
    );
    guest
}

/// The server's answer, in the originals' one line of JSON.
fn says(guest: &Guest, path: &str, status: u16, response: &str) {
    let answer = guest.until("the server does not answer", || guest.answer(SERVER, path));
    let expected = format!("{{\"response\":\"{response}\"}}\n");
    assert_eq!(
        (answer.0, String::from_utf8_lossy(&answer.1).as_ref()),
        (status, expected.as_str()),
        "{path}"
    );
}

fn echoes(guest: &Guest) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    socket.connect(guest.udp_address(ECHO)).unwrap();
    let echoed = guest.until("nothing is echoed", || {
        let mut answer = [0; 64];
        // Datagrams may get lost: ask again.
        socket.send(b"is anybody there?").ok()?;
        let bytes = socket.recv(&mut answer).ok()?;
        Some(answer[..bytes].to_vec())
    });
    assert_eq!(echoed, b"is anybody there?");
}

fn three_clients_report(guest: &mut Guest) {
    let reported = || {
        let (_, body) = guest.answer(SERVER, "/scaled")?;
        let line = String::from_utf8(body).ok()?;
        let names: Vec<_> = line.split('"').nth(3)?.split(' ').map(str::to_owned).collect();
        (names.len() >= 3).then_some(names)
    };
    let names = guest.until("there are no three clients", reported);
    assert_eq!(names.len(), 3, "{names:?}");
}

/// It runs, and ends when the machine is asked to power off.
fn starts_and_stops(guest: &mut Guest) {
    guest.power_button();
    guest.ended();
}
