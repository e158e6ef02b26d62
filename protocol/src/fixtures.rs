//! What tests of several crates start from: a machine, what is claimed of it, a boot's events,
//! evidence, what a proof is bound to.
//!
//! No product has this module: it exists in tests, and for crates that name the feature in their
//! development dependencies (`cargo xtask tidy` checks it).

use crate::channel::{ALPN_KMS, Binding, Direction, Role};
use crate::digest::{AppId, ComposeHash, OsImageHash};
use crate::event_log::RuntimeEvent;
use crate::event_name;
use crate::evidence::Evidence;
use crate::launch::LaunchClaims;
use crate::report_data::NONCE_BYTES;
use crate::shape::Shape;

/// A small machine with all that a dstyx image needs.
pub fn shape() -> Shape {
    Shape {
        vcpus: 2,
        memory_mib: 2048,
        root_slots: 5,
        serial_ports: 1,
        qemu_version: "11.1.3".to_owned(),
        pci_hotplug: true,
    }
}

/// Claims of some image in that machine.
pub fn claims() -> LaunchClaims {
    LaunchClaims { os_image_hash: OsImageHash([1; 32]), shape: shape() }
}

/// All events of a boot without keys.
pub fn boot(compose_hash: &ComposeHash, instance_id: &[u8]) -> Vec<RuntimeEvent> {
    vec![
        RuntimeEvent::new(event_name::SYSTEM_PREPARING, []),
        RuntimeEvent::new(event_name::APP_ID, AppId::from_compose_hash(compose_hash).0),
        RuntimeEvent::new(event_name::COMPOSE_HASH, compose_hash.0),
        RuntimeEvent::new(event_name::INSTANCE_ID, instance_id),
        RuntimeEvent::new(event_name::BOOT_MR_DONE, []),
        RuntimeEvent::new(event_name::KEY_PROVIDER, br#"{"name":"none","id":""}"#),
        RuntimeEvent::new(event_name::STORAGE_FS, "btrfs"),
        RuntimeEvent::new(event_name::SYSTEM_READY, []),
    ]
}

/// Evidence that has a quote and nothing else.
pub fn evidence_of(quote: &[u8]) -> Evidence {
    Evidence {
        quote: quote.to_vec(),
        event_log: Vec::new(),
        nonce: [0; NONCE_BYTES],
        claims: claims(),
        app_compose: None,
    }
}

/// What the proof of a client of a KMS is bound to, which has this role.
pub fn binding(own: Role) -> Binding {
    Binding {
        alpn: ALPN_KMS.to_vec(),
        own,
        expected: Role::App,
        direction: Direction::ClientToServer,
        own_spki: vec![1],
        peer_spki: vec![2],
        exporter: [3; 32],
        client_nonce: [4; 32],
        server_nonce: [5; 32],
    }
}
