//! Predictions against quotes and event logs of real TDX machines: the only tests that no emulator
//! can stand in for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use protocol::digest::{AppId, ComposeHash, InstanceId, OsImageHash, Rtmr, Sha384Digest};
use protocol::event_log::{self, RawEvent};
use protocol::image::FirmwareFacts;
use protocol::quote::{Quote, TdReport};
use serde_json::Value;

use crate::event::{Event, Origin, Register, replay};
use crate::explain::{FoundRegisters, Logged};
use crate::rtmr0::Firmware;
use crate::{
    App, CommandLine, FirmwareLayout, ImageFacts, QemuProfile, Shape, Until, dstack_image,
    predict_app, predict_registers, rtmr0, rtmr1, rtmr2, variable_store,
};

/// A quote's report and the event log that came with it.
struct Evidence {
    report: TdReport,
    log: Vec<RawEvent>,
}

impl Evidence {
    fn parse(json: &str) -> Self {
        let value: Value = serde_json::from_str(json).unwrap();
        let quote = hex::decode(value["quote"].as_str().unwrap().trim_start_matches("0x")).unwrap();
        Self::new(&quote, value["event_log"].as_str().unwrap().as_bytes())
    }

    fn new(quote: &[u8], log: &[u8]) -> Self {
        let log = event_log::parse(log).unwrap();
        Self { report: Quote::parse_padded(quote).unwrap().report, log }
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

/// QEMU 8.2.2, 8 vCPUs, 16 GiB, a firmware of edk2 2025.05 or later.
fn dstack_newer_firmware() -> Evidence {
    Evidence::new(
        include_bytes!("../../tests/vectors/measurement/dstack-0.6-8cpu-16GiB.quote.bin"),
        include_bytes!("../../tests/vectors/measurement/dstack-0.6-8cpu-16GiB.eventlog.json"),
    )
}

fn shape(vcpus: u32, memory_mib: u64, root_slots: u32) -> Shape {
    let qemu_version = "8.2.2".to_owned();
    Shape { vcpus, memory_mib, root_slots, serial_ports: 1, qemu_version, pci_hotplug: true }
}

/// The facts of an OVMF with an empty configuration volume; the images themselves are not at hand.
fn firmware(layout: FirmwareLayout, last_range: (u64, u64)) -> FirmwareFacts {
    FirmwareFacts {
        layout: layout.name().into(),
        td_hob_base: 0x80_9000,
        accepted_ranges: vec![
            (0x80_0000, 0x6000),
            (0x80_9000, 0x2000),
            (0x80_b000, 0x2000),
            last_range,
        ],
        cfv_sha384: variable_store::empty_sha384(),
    }
}

/// Ranges of IntelTdxX64, and of the older OvmfPkgX64.
const INTEL_TDX: (u64, u64) = (0x81_0000, 0x1_0000);
const OVMF_PKG: (u64, u64) = (0x81_1000, 0xf000);

fn predicted(
    facts: &FirmwareFacts,
    handoff_tables: Option<Sha384Digest>,
    shape: &Shape,
) -> Vec<Event> {
    let profile = QemuProfile::for_version(&shape.qemu_version).unwrap();
    rtmr0::events(Firmware { facts, handoff_tables }, shape, profile).unwrap()
}

fn assert_rtmr0(evidence: &Evidence, events: &[Event]) {
    let log: Vec<&RawEvent> = evidence.log.iter().filter(|event| event.imr == 0).collect();
    assert_eq!(events.len(), log.len());
    for (event, logged) in events.iter().zip(log) {
        assert_eq!(event.digest.to_string(), logged.digest, "{} ({})", event.name, event.preimage);
        assert_eq!(event.event_type, logged.event_type, "{}", event.name);
    }
    assert_eq!(replay(Register::Rtmr0, events), evidence.report.rtmrs[0]);
}

#[test]
fn rtmr0_of_two_real_machines_is_computed_from_their_shapes() {
    let events = |last_range, shape| {
        predicted(&firmware(FirmwareLayout::Edk2_2025_02, last_range), None, &shape)
    };
    assert_rtmr0(&dstack_06(), &events(INTEL_TDX, shape(2, 2048, 6)));
    assert_rtmr0(&dstack_03(), &events(OVMF_PKG, shape(1, 1024, 5)));
}

#[test]
fn of_a_newer_firmwares_seventeen_events_all_but_one_are_computed() {
    let evidence = dstack_newer_firmware();
    let facts = firmware(FirmwareLayout::Edk2_2025_05, INTEL_TDX);
    let stated = evidence.digests(0)[13];
    let events = predicted(&facts, Some(stated), &shape(8, 16384, 6));
    assert_rtmr0(&evidence, &events);
    let not_computed: Vec<_> =
        events.iter().filter(|event| event.origin == Origin::Stated).collect();
    assert_eq!(
        not_computed.iter().map(|event| event.name.as_ref()).collect::<Vec<_>>(),
        ["handoff-tables"]
    );
    let profile = QemuProfile::for_version("8.2.2").unwrap();
    let unstated = Firmware { facts: &facts, handoff_tables: None };
    let error = rtmr0::events(unstated, &shape(8, 16384, 6), profile).unwrap_err();
    assert!(error.to_string().contains("state a reference"), "{error}");
}

/// dstack's measurement file and the list that names it, out of the evidence's own configuration.
fn measurement_files() -> (Value, Vec<u8>, Vec<u8>) {
    let json = include_str!("../../tests/vectors/measurement/dstack-0.6-2cpu-2GiB.json");
    let value: Value = serde_json::from_str(json).unwrap();
    let config: Value = serde_json::from_str(value["vm_config"].as_str().unwrap()).unwrap();
    let part =
        |name: &str| BASE64.decode(config["tdx_measurement"][name].as_str().unwrap()).unwrap();
    let (list, cbor) = (part("checksum_file"), part("measurement"));
    (config, list, cbor)
}

/// The image of the first machine.
pub(crate) fn image_of_a_real_guest() -> ImageFacts<'static> {
    dstack_image::facts(&measurement_files().2).unwrap()
}

/// Registers, firmware log and shape of the first machine.
pub(crate) fn registers_of_a_real_guest() -> (FoundRegisters, Vec<Logged>, Shape) {
    let evidence = dstack_06();
    let logged =
        [Register::Rtmr0, Register::Rtmr1, Register::Rtmr2].into_iter().flat_map(|register| {
            let digests = evidence.digests(register as u32);
            digests.into_iter().map(move |digest| Logged { register, digest })
        });
    let [rtmr0, rtmr1, rtmr2, _] = evidence.report.rtmrs;
    let found = FoundRegisters { mrtd: evidence.report.mrtd, rtmrs: [rtmr0, rtmr1, rtmr2] };
    (found, logged.collect(), shape(2, 2048, 6))
}

/// The whole chain that dstack's evidence offers: os-image-hash → checksum list → measurement file
/// → registers.
#[test]
fn all_registers_of_a_real_guest_follow_from_its_images_metadata_and_its_shape() {
    let (config, list, cbor) = measurement_files();
    let checksums = dstack_image::Checksums::parse(&list).unwrap();
    assert_eq!(checksums.os_image_hash.to_string(), config["os_image_hash"].as_str().unwrap());
    checksums.check(dstack_image::MEASUREMENT_FILE, &cbor).unwrap();

    let facts = image_of_a_real_guest();
    let registers = predict_registers(&facts, &shape(2, 2048, 6)).unwrap().registers;
    let report = dstack_06().report;
    assert_eq!(registers.mrtd, report.mrtd);
    assert_eq!([registers.rtmr0, registers.rtmr1, registers.rtmr2], report.rtmrs[..3]);

    let rewritten_otherwise = predict_registers(&facts, &shape(2, 1024, 6)).unwrap_err();
    assert!(
        rewritten_otherwise.to_string().contains("give the image's files"),
        "{rewritten_otherwise}"
    );
}

#[test]
fn every_register_of_real_evidence_is_what_its_log_replays_to() {
    for evidence in [dstack_06(), dstack_03(), dstack_newer_firmware()] {
        for register in 0..3 {
            let replayed = Rtmr::replay(evidence.digests(register).iter());
            assert_eq!(replayed, evidence.report.rtmrs[register as usize], "RTMR{register}");
        }
        let events = event_log::runtime_events(&evidence.log).unwrap();
        assert_eq!(event_log::replay(&events), evidence.report.rtmrs[3], "RTMR3");
    }
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
        let events = predicted(&firmware(FirmwareLayout::Edk2_2025_02, INTEL_TDX), None, &shape);
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

        let (loaded, logged) = (
            rtmr2::events(&CommandLine::Text(String::new()), evidence.digests(2)[1]),
            evidence.digests(2),
        );
        assert_eq!(loaded[1].digest, logged[1]);
        let types =
            |events: &[Event]| events.iter().map(|event| event.event_type).collect::<Vec<_>>();
        let logged_types: Vec<u32> = evidence
            .log
            .iter()
            .filter(|event| event.imr == 2)
            .map(|event| event.event_type)
            .collect();
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
        danger_privileged: false,
    };
    let ready = predict_app(&app, Until::SystemReady);
    assert_eq!(ready.rtmr3, evidence.report.rtmrs[3]);
    assert_eq!(ready.events.len(), 9);

    let measured = predict_app(&app, Until::BootMrDone);
    assert_eq!(measured.events[..], ready.events[..5]);
    assert_eq!(measured.rtmr3, Rtmr::replay(ready.events[..5].iter().map(|event| &event.digest)));

    assert_eq!(evidence.report.mr_config_id, protocol::mr_config::v1(&app.compose_hash));
}
