//! Predictions against quotes and event logs of real TDX machines: the only tests that no emulator can stand in for.

use protocol::digest::{AppId, ComposeHash, InstanceId, OsImageHash, Rtmr, Sha384Digest};
use protocol::event_log::{self, RawEvent};
use protocol::image::FirmwareFacts;
use protocol::quote::{Quote, TdReport};
use serde_json::Value;

use crate::event::{Event, Register, replay};
use crate::{App, QemuProfile, Shape, Until, predict_app, rtmr0, rtmr1, rtmr2};

/// A quote's report and the event log that came with it.
struct Evidence {
    report: TdReport,
    log: Vec<RawEvent>,
}

impl Evidence {
    fn parse(json: &str) -> Self {
        let value: Value = serde_json::from_str(json).unwrap();
        let quote = hex::decode(value["quote"].as_str().unwrap().trim_start_matches("0x")).unwrap();
        let log = event_log::parse(value["event_log"].as_str().unwrap().as_bytes()).unwrap();
        Self { report: Quote::parse_padded(&quote).unwrap().report, log }
    }

    fn digests(&self, register: u32) -> Vec<Sha384Digest> {
        let of_register = self.log.iter().filter(|event| event.imr == register);
        of_register.map(|event| Sha384Digest::from_hex(&event.digest).unwrap()).collect()
    }

    fn runtime_event(&self, name: &str) -> Vec<u8> {
        let event = self.log.iter().find(|event| event.event == name).unwrap();
        hex::decode(&event.event_payload).unwrap()
    }
}

/// QEMU 8.2.2, 2 vCPUs, 2 GiB.
fn dstack_06() -> Evidence {
    Evidence::parse(include_str!("../../tests/vectors/measurement/dstack-0.6-2cpu-2GiB.json"))
}

/// An older QEMU 8 and an older OVMF, 1 vCPU, 1 GiB.
fn dstack_03() -> Evidence {
    Evidence::parse(include_str!("../../tests/vectors/measurement/dstack-0.3-1cpu-1GiB.json"))
}

fn shape(vcpus: u32, memory_mib: u64, root_slots: u32) -> Shape {
    let qemu_version = "8.2.2".to_owned();
    Shape { vcpus, memory_mib, root_slots, serial_ports: 1, qemu_version, pci_hotplug: true }
}

/// The firmware's facts; the image itself is not at hand, so the volume's digest is the log's.
fn firmware(evidence: &Evidence, last_range: (u64, u64)) -> FirmwareFacts {
    FirmwareFacts {
        layout: "edk2-2025.02".into(),
        td_hob_base: 0x80_9000,
        accepted_ranges: vec![(0x80_0000, 0x6000), (0x80_9000, 0x2000), (0x80_b000, 0x2000), last_range],
        cfv_sha384: evidence.digests(0)[1],
    }
}

fn assert_rtmr0(evidence: &Evidence, last_range: (u64, u64), shape: &Shape) {
    let profile = QemuProfile::for_version(&shape.qemu_version).unwrap();
    let events = rtmr0::events(&firmware(evidence, last_range), shape, profile).unwrap();
    let log: Vec<&RawEvent> = evidence.log.iter().filter(|event| event.imr == 0).collect();
    assert_eq!(events.len(), log.len());
    for (event, logged) in events.iter().zip(log) {
        assert_eq!(event.digest.to_string(), logged.digest, "{} ({})", event.name, event.preimage);
        assert_eq!(event.event_type, logged.event_type, "{}", event.name);
    }
    assert_eq!(replay(Register::Rtmr0, &events), evidence.report.rtmrs[0]);
}

#[test]
fn rtmr0_of_two_real_machines_is_computed_from_their_shapes() {
    assert_rtmr0(&dstack_06(), (0x81_0000, 0x1_0000), &shape(2, 2048, 6));
    assert_rtmr0(&dstack_03(), (0x81_1000, 0xf000), &shape(1, 1024, 5));
}

#[test]
fn another_shape_gives_another_rtmr0() {
    let evidence = dstack_06();
    let right = shape(2, 2048, 6);
    let wrong = [
        Shape { vcpus: 3, ..right.clone() },
        Shape { memory_mib: 2047, ..right.clone() },
        Shape { root_slots: 5, ..right.clone() },
        Shape { serial_ports: 2, ..right.clone() },
        Shape { pci_hotplug: false, ..right.clone() },
        Shape { qemu_version: "11.1.3".into(), ..right },
    ];
    for shape in wrong {
        let profile = QemuProfile::for_version(&shape.qemu_version).unwrap();
        let events = rtmr0::events(&firmware(&evidence, (0x81_0000, 0x1_0000)), &shape, profile).unwrap();
        assert_ne!(replay(Register::Rtmr0, &events), evidence.report.rtmrs[0], "{shape:?}");
    }
}

#[test]
fn the_events_around_kernel_and_initrd_are_those_of_real_logs() {
    for evidence in [dstack_06(), dstack_03()] {
        let logged = evidence.digests(1);
        let events = rtmr1::events(logged[0]);
        assert_eq!(events.iter().map(|event| event.digest).collect::<Vec<_>>(), logged);
        assert_eq!(replay(Register::Rtmr1, &events), evidence.report.rtmrs[1]);

        let (loaded, logged) = (rtmr2::events("", evidence.digests(2)[1]), evidence.digests(2));
        assert_eq!(loaded[1].digest, logged[1]);
        let types = |events: &[Event]| events.iter().map(|event| event.event_type).collect::<Vec<_>>();
        let logged_types: Vec<u32> =
            evidence.log.iter().filter(|event| event.imr == 2).map(|event| event.event_type).collect();
        assert_eq!(types(&loaded), logged_types);
    }
}

#[test]
fn rtmr3_of_a_real_guest_is_computed_from_its_app() {
    let evidence = dstack_06();
    let fixed = |name: &str| evidence.runtime_event(name);
    let text = |name: &str| String::from_utf8(fixed(name)).unwrap();
    let app = App {
        compose_hash: ComposeHash(fixed("compose-hash").try_into().unwrap()),
        app_id: AppId(fixed("app-id").try_into().unwrap()),
        instance_id: Some(InstanceId(fixed("instance-id").try_into().unwrap())),
        os_image_hash: Some(OsImageHash(fixed("os-image-hash").try_into().unwrap())),
        key_provider: Some(text("key-provider")),
        storage_fs: Some(text("storage-fs")),
    };
    let ready = predict_app(&app, Until::SystemReady);
    assert_eq!(ready.rtmr3, evidence.report.rtmrs[3]);
    assert_eq!(ready.events.len(), 9);

    let measured = predict_app(&app, Until::BootMrDone);
    assert_eq!(measured.events[..], ready.events[..5]);
    assert_eq!(measured.rtmr3, Rtmr::replay(ready.events[..5].iter().map(|event| &event.digest)));

    assert_eq!(evidence.report.mr_config_id, protocol::mr_config::v1(&app.compose_hash));
}
