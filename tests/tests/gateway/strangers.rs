//! Strangers' clients, and what is killed under them: each reaches an app in booted guests through
//! booted gateways.

use std::path::Path;
use std::time::{Duration, Instant};

use tests::browser;
use tests::clients::{Said, Target};
use tests::knot::Knot;

use crate::machines::{BASE, Gateway, Machines};

/// A domain of the app's owner.
pub const DOMAIN: &str = "shop.example.test";
const ZONE: &str = "example.test";
/// How long the app may take to answer after its guest was verified: Python starts under
/// emulation.
const APP_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the next connection may take after something was killed.
const SERVED_WITHIN: Duration = Duration::from_secs(3);
/// What the app's page says.
const PAGE: &str = "<p id=\"said\">speaker</p>";

/// One client's way to speak to an app.
type Speaks = fn(&Target<'_>) -> Said;

/// Boots a KMS, two gateways and two instances of an app; its clients come in, and a gateway and an
/// instance are killed.
pub fn reach_apps_through_two_gateways() {
    let mut names = Knot::start(&[(ZONE, "")]);
    let mut machines = step("KMS", || Machines::new(names.address()));
    let first = step("first gateway", || machines.gateway("gateway-1"));
    let second = step("second gateway", || machines.gateway("gateway-2"));
    let gateways = [&first, &second];
    let [app, one] = step("first instance", || machines.instance("speaker-1", &gateways));
    let [other, two] = step("second instance", || machines.instance("speaker-2", &gateways));
    assert_eq!(app, other, "both are instances of one app");
    names.set(ZONE, &format!("_dstack-app-address.shop 60 TXT \"{app}:8443\""));
    let own = machines.app_certificate();
    step("both instances have started", || {
        let pairs = gateways.iter().flat_map(|gateway| [(gateway, &one), (gateway, &two)]);
        // Its last server; the others are there before it.
        pairs.for_each(|(gateway, id)| {
            until_served(&gateway.target(&format!("{id}-50051g.{BASE}")))
        });
    });
    for gateway in gateways {
        step(gateway.name, || is_served_in_all_ways(gateway, &app, &own));
    }
    let name = format!("{app}-8081.{BASE}");
    let mut held = first.target(&name).held();
    assert_eq!(held.echo("before"), "before");
    step("a gateway is killed", || {
        machines.kill(second.name);
        is_served_at_once(&[&second, &first], &app);
        assert_eq!(held.echo("after"), "after", "what the other gateway holds goes on");
    });
    step("an instance is killed", || {
        machines.kill("speaker-1");
        is_served_at_once(&[&first], &app);
    });
}

/// Every client, through TLS that ends in the gateway and through TLS that ends in the app.
fn is_served_in_all_ways(gateway: &Gateway, app: &str, own: &Path) {
    let name = |port: &str| format!("{app}-{port}.{BASE}");
    let page = name("8080");
    let at = gateway.target(&page);
    let upper = page.to_uppercase();
    said(gateway.target(&upper).curl("/", &[]), "speaker");
    said(at.curl("/", &["--http1.1", "--tls-max", "1.2"]), "speaker");
    said(at.curl("/events", &["--no-buffer"]), "data: 2");
    said(at.openssl("X25519MLKEM768", &["-tls1_3"]), "X25519MLKEM768");
    said(at.openssl("X25519", &["-tls1_3"]), "Verification: OK");
    said(at.openssl("P-256", &["-tls1_2"]), "Verification: OK");
    said(gateway.target(&name("8081")).websocket(), "echoed over WebSocket");
    said(gateway.target(&name("50051g")).grpc(), "echoed over gRPC");
    let url = format!("https://{page}:{}/", gateway.clients.port());
    said(browser::page(&url, &gateway.authority), PAGE);
    // From here the app's own certificate is seen.
    let passed: [(String, Speaks, &str); 6] = [
        (name("8443s"), |target| target.curl("/", &[]), "speaker"),
        (DOMAIN.to_owned(), |target| target.curl("/", &[]), "speaker"),
        (
            name("8443s"),
            |target| target.openssl("X25519MLKEM768", &["-tls1_3"]),
            "Verification: OK",
        ),
        (name("8443s"), |target| target.openssl("X25519", &["-tls1_3"]), "Verification: OK"),
        (name("8444s"), |target| target.websocket(), "echoed over WebSocket"),
        (name("50443s"), |target| target.grpc(), "echoed over gRPC"),
    ];
    for (name, speaks, expected) in passed {
        said(speaks(&Target { authority: own, ..gateway.target(&name) }), expected);
    }
}

/// The next connection is served, at one of these gateways in this order.
fn is_served_at_once(gateways: &[&Gateway], app: &str) {
    let (begun, name) = (Instant::now(), format!("{app}-8080.{BASE}"));
    let served = gateways.iter().find_map(|gateway| gateway.target(&name).curl("/", &[]).ok());
    let took = begun.elapsed();
    assert!(served.is_some_and(|page| page.contains("speaker")), "not served in {took:?}");
    assert!(took < SERVED_WITHIN, "served after {took:?}");
}

fn until_served(target: &Target<'_>) {
    let started = Instant::now();
    while let Err(error) = target.grpc() {
        assert!(started.elapsed() < APP_TIMEOUT, "{}: {error}", target.name);
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[track_caller]
fn said(answer: Said, expected: &str) {
    match answer {
        Ok(text) => assert!(text.contains(expected), "{expected} is not in {text}"),
        Err(error) => panic!("{expected}: {error}"),
    }
}

fn step<T>(name: &str, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = work();
    println!("{name}: {:.0} s", begun.elapsed().as_secs_f64());
    done
}
