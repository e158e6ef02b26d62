//! A guest of the built image that dials.

use std::fs;
use std::time::Duration;

use protocol::app_compose::{AppFiles, KeyProvider, NewApp};
use protocol::digest::{AppId, ComposeHash};
use protocol::handover::AGENT_PORT;
use protocol::image::Flavour;
use protocol::kms::SignedRelease;
use protocol::status::{Phase, Refusal};
use tdx_emulator::pki::machine::Machine;
use tests::emulated::{self, Emulated};
use tests::guest::{Guest, Host};
use tests::lab;
use tests::mirror::Mirror;
use tokio::runtime::Runtime;
use tokio::time::sleep;

use crate::running::Gateway;
use crate::{kms, loopback_kms};

/// Where the guest finds its host.
const HOST_IN_GUEST: &str = "10.0.2.2";
/// Where the example listens, and its container's name.
const HELLO: (u16, &str) = (8080, "hello-1");

/// Boots a guest, reaches it, and cuts its power.
pub fn a_client_reaches_a_booted_guest() {
    let (image, mirror) = (lab::image(Flavour::Dev), Mirror::honest());
    let (runtime, directory) = (Runtime::new().unwrap(), tempfile::tempdir().unwrap());
    let running = runtime.block_on(loopback_kms::start(directory.path()));
    let key_provider = KeyProvider::Kms { id: kms::id(&running) };
    let file = |name: &str, compose: &str| {
        let files = AppFiles::new();
        let new =
            NewApp { key_provider, gateway_enabled: true, ..NewApp::of(name, compose, &files) };
        new.generate().unwrap()
    };
    let compose = lab::checkout().join("examples/hello/docker-compose.yml");
    let app = file("hello", &fs::read_to_string(compose).unwrap());
    let own = Emulated::of(Machine::default(), file("gateway", tests::scene::COMPOSE), true);
    let app_id = AppId::from_compose_hash(&ComposeHash::of(&app));
    let gateway = runtime.block_on(async {
        kms::name(&running, &app, &image, &own).await;
        let release = kms::released(&running, &own).await;
        let text = fs::read_to_string(image.join("image.json")).unwrap();
        let images = [text, String::from_utf8(emulated::image().to_json()).unwrap()];
        Gateway::start(own, release, &images).await
    });
    let host = Host {
        app_compose: Some(app),
        kms_urls: vec![format!("https://{HOST_IN_GUEST}:{}", running.address.port())],
        // What answers at the first one is no gateway.
        gateway_urls: vec![
            format!("https://{HOST_IN_GUEST}:{}", running.address.port()),
            format!("https://{HOST_IN_GUEST}:{}", gateway.tunnels.port()),
        ],
        mirrors: vec![mirror.address.clone()],
        ports: vec![HELLO.0],
        ..Host::default()
    };
    let mut guest = host.start(&image);
    let reached = guest.reached(Phase::AppRunning).unwrap();
    let outcome = (reached.phase, reached.refusal);
    assert_eq!(outcome, (Phase::AppRunning, Refusal::None), "{}", guest.all_logs(&[HELLO.1]));
    runtime.block_on(reaches(&gateway, &guest, app_id));
    drop(guest);
    runtime.block_on(until("a guest that is gone is led to no longer", || {
        gateway.found(app_id).is_none()
    }));
}

async fn reaches(gateway: &Gateway, guest: &Guest, app: AppId) {
    until("the guest's app is ready", || gateway.found(app) == Some(true)).await;
    // An app without a check of its health is ready when its process runs.
    let direct = guest.until("the app does not answer", || guest.get(HELLO.0, "/"));
    let answer = gateway.get(app, HELLO.0, "/").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with(&*String::from_utf8_lossy(&direct)), "{answer}");
    // The public port of its agent; and none that nobody published.
    let answer = gateway.get(app, AGENT_PORT, "/release").await.unwrap();
    let (_, release) = answer.split_once("\r\n\r\n").unwrap();
    SignedRelease::parse(release.as_bytes()).unwrap();
    let answer = gateway.get(app, 8091, "/").await.unwrap_or_default();
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1200 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("not within two minutes: {what}");
}
