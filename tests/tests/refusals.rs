//! Promise: whatever is changed, in a guest, in its machine or on the way, `dstyx verify` refuses it by a row of its own.
//!
//! Each row of the table makes evidence as a guest would have given it that ran the changed thing, signed by the
//! emulator's library, and has the real program judge it against the built image. No guest is booted;
//! `boots.rs` shows that booted ones give such evidence.

#![allow(clippy::unwrap_used)] // the helpers of a test are tests too

use std::collections::BTreeSet;
use std::fs;

use measurement::{App, ImageFacts, ImageFiles, Prediction, Register, Until};
use protocol::digest::{AppId, ComposeHash, OsImageHash};
use protocol::event_log::{RawEvent, RuntimeEvent};
use protocol::evidence::Evidence;
use protocol::image::Flavour;
use protocol::launch::LaunchClaims;
use protocol::shape::Shape;
use protocol::{app_compose, event_name, mr_config, report_data};
use tdx_emulator::collateral::Collateral;
use tdx_emulator::lie::Lie;
use tdx_emulator::pki::Chain;
use tdx_emulator::quote::{QuoteVersion, Quoter, platform};
use tdx_emulator::registers::Registers;
use tests::dstyx::{Answer, User, write_app};
use tests::lab;
use x509_cert::der::DateTime;

/// When everything here was made and is judged.
const NOW: &str = "2026-11-21T06:00:00Z";
const NONCE: [u8; 32] = [7; 32];
const COMPOSE: &str = "services:\n  web:\n    image: dstyx.local/web@sha256:\
    abababababababababababababababababababababababababababababababab\n";
const NAME: &str = "refusals";

/// What really ran and what the host made of it; a case changes one thing.
#[derive(Clone)]
struct Scene {
    firmware: Vec<u8>,
    kernel: Vec<u8>,
    initrd: Vec<u8>,
    cmdline: String,
    shape: Shape,
    compose: String,
    /// The run-time log as the host passes it on.
    edit: fn(&mut Vec<RawEvent>),
    lie: Option<Lie>,
    version: QuoteVersion,
    /// What the person who verifies says of the machine.
    stated: Shape,
}

struct Case {
    name: &'static str,
    change: fn(&mut Scene),
    /// Rows that must fail, no others; the first one is the refusal.
    rows: &'static [&'static str],
}

const CASES: [Case; 19] = [
    Case {
        name: "one byte changed in the compose file",
        change: |scene| scene.compose = COMPOSE.replacen("abab", "abaa", 1),
        rows: &["compose-hash", "app-id"],
    },
    Case { name: "one byte changed in the kernel", change: |scene| flip_middle(&mut scene.kernel), rows: &["rtmr1"] },
    Case { name: "one byte changed in the initrd", change: |scene| flip_middle(&mut scene.initrd), rows: &["rtmr2"] },
    Case {
        name: "one byte changed in the command line",
        change: |scene| scene.cmdline = scene.cmdline.replacen("quiet", "quieu", 1),
        rows: &["rtmr2"],
    },
    Case {
        name: "one byte changed in the firmware's code",
        change: |scene| {
            let at = scene.firmware.len() - 0x1_0000;
            scene.firmware[at] ^= 1;
        },
        rows: &["mrtd"],
    },
    Case {
        name: "one byte changed in the firmware's configuration volume",
        change: |scene| scene.firmware[0x100] ^= 1,
        rows: &["rtmr0"],
    },
    Case { name: "other vCPUs", change: |scene| scene.shape.vcpus = 4, rows: &["rtmr0"] },
    Case { name: "less memory", change: |scene| scene.shape.memory_mib = 1024, rows: &["rtmr0"] },
    Case { name: "memory above 4 GiB", change: |scene| scene.shape.memory_mib = 8192, rows: &["rtmr0"] },
    Case { name: "one more root slot", change: |scene| scene.shape.root_slots = 5, rows: &["rtmr0"] },
    Case {
        name: "one event changed, its digest kept",
        change: |scene| scene.edit = |log| event(log, event_name::KEY_PROVIDER).event_payload = "7b7d".into(),
        rows: &["event-payload"],
    },
    Case {
        name: "one event changed with its digest",
        change: |scene| {
            scene.edit = |log| {
                let other = RuntimeEvent::new(event_name::KEY_PROVIDER, br#"{"name":"kms","id":""}"#);
                *event(log, event_name::KEY_PROVIDER) = other.to_raw();
            };
        },
        rows: &["rtmr3"],
    },
    Case {
        name: "one event dropped",
        change: |scene| scene.edit = |log| log.retain(|event| event.event != event_name::BOOT_MR_DONE),
        rows: &["event-missing", "rtmr3"],
    },
    Case { name: "one event moved", change: |scene| scene.edit = |log| swap_ids(log), rows: &["event-order", "rtmr3"] },
    Case {
        name: "one event repeated",
        change: |scene| {
            scene.edit = |log| {
                let at = log.iter().position(|event| event.event == event_name::APP_ID).unwrap();
                log.insert(at, log[at].clone());
            };
        },
        rows: &["event-repeated", "rtmr3"],
    },
    Case {
        name: "flipped signature",
        change: |scene| scene.lie = Some(Lie::FlipSignature),
        rows: &["quote-signature"],
    },
    Case { name: "other report data", change: |scene| scene.lie = Some(Lie::OtherReportData), rows: &["report-data"] },
    Case { name: "DEBUG", change: |scene| scene.lie = Some(Lie::Debug), rows: &["debug"] },
    Case {
        name: "expired collateral",
        change: |scene| scene.lie = Some(Lie::ExpiredCollateral),
        rows: &["tcb-info-current", "qe-identity-current"],
    },
];

#[test]
fn honest_evidence_passes_in_both_quote_versions() {
    let mut scene = Scene::honest();
    scene.judged().passes();
    scene.version = QuoteVersion::V5;
    scene.judged().passes();
}

#[test]
fn every_change_is_refused_by_its_own_rows_and_words() {
    let honest = Scene::honest();
    let mut refusals = BTreeSet::new();
    let mut wrong = Vec::new();
    for case in &CASES {
        let mut scene = honest.clone();
        (case.change)(&mut scene);
        let answer = scene.judged();
        let rows = answer.failed();
        if (answer.code, rows.as_slice()) != (1, case.rows) {
            wrong.push(format!("{}: exit {}, rows {rows:?}, expected {:?}", case.name, answer.code, case.rows));
            continue;
        }
        println!("{:55} {:20} {}", case.name, rows[0], answer.hint(rows[0]));
        refusals.insert((rows[0].to_owned(), answer.hint(rows[0]).to_owned()));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(refusals.len(), CASES.len(), "two changes are refused in the same words: {refusals:#?}");
}

/// The hints of RTMR2 come from the firmware's log: they name the part.
#[test]
fn a_changed_initrd_is_told_from_a_changed_command_line() {
    let hint = |change: fn(&mut Scene)| {
        let mut scene = Scene::honest();
        change(&mut scene);
        scene.judged().hint("rtmr2").to_owned()
    };
    assert!(hint(|scene| flip_middle(&mut scene.initrd)).contains("initrd"));
    assert!(hint(|scene| scene.cmdline.push_str(" debug")).contains("cmdline"));
}

/// Any byte of any artefact, not only those of the table: some register moves.
#[test]
fn a_changed_byte_anywhere_moves_a_register() {
    let honest = Scene::honest();
    let expected = honest.prediction().registers;
    let samples = if lab::long() { 128 } else { 4 };
    let parts: [fn(&mut Scene) -> &mut Vec<u8>; 3] =
        [|scene| &mut scene.firmware, |scene| &mut scene.kernel, |scene| &mut scene.initrd];
    for part in parts {
        let length = part(&mut honest.clone()).len();
        for sample in 0..samples {
            let mut scene = honest.clone();
            // Spread over the file by the golden ratio: the same on every machine, near no boundary.
            let at = (length as u64).wrapping_mul(sample).wrapping_mul(618_033_989) / 1_000_000_000 % length as u64;
            part(&mut scene)[usize::try_from(at).unwrap()] ^= 0x10;
            let files = scene.files();
            let facts = ImageFacts::from_files(&files);
            let moved = facts.is_ok_and(|facts| {
                let registers = measurement::predict_registers(&facts, &scene.shape).unwrap().registers;
                registers != expected
            });
            // A file that no longer parses as what it was has no prediction at all, which is refusal enough.
            assert!(moved || ImageFacts::from_files(&files).is_err(), "byte {at} of {length} is not measured");
        }
    }
}

impl Scene {
    fn honest() -> Self {
        let folder = lab::image(Flavour::Dev);
        let manifest = lab::manifest(&folder);
        let read = |name: &str| fs::read(folder.join(name)).unwrap();
        let shape = Shape {
            vcpus: 2,
            memory_mib: 2048,
            root_slots: manifest.machine.root_slots,
            serial_ports: manifest.machine.serial_ports,
            qemu_version: manifest.machine.qemu_version.clone(),
            pci_hotplug: true,
        };
        Self {
            firmware: read(&manifest.firmware.file),
            kernel: read(&manifest.kernel.file),
            initrd: read(&manifest.initrd.file),
            cmdline: manifest.cmdline,
            stated: shape.clone(),
            shape,
            compose: COMPOSE.to_owned(),
            edit: |_| {},
            lie: None,
            version: QuoteVersion::V4,
        }
    }

    fn files(&self) -> ImageFiles<'_> {
        let Self { firmware, kernel, initrd, cmdline, .. } = self;
        ImageFiles { firmware, kernel, initrd, cmdline }
    }

    fn prediction(&self) -> Prediction {
        let facts = ImageFacts::from_files(&self.files()).unwrap();
        measurement::predict_registers(&facts, &self.shape).unwrap()
    }

    fn chain() -> (DateTime, Chain) {
        let now: DateTime = NOW.parse().unwrap();
        (now, Chain::issue(now, &platform::pck_facts()).unwrap())
    }

    fn evidence(&self, os_image_hash: OsImageHash) -> Evidence {
        let prediction = self.prediction();
        let app_compose = app_compose::generate(NAME, &self.compose).unwrap();
        let hash = ComposeHash::of(&app_compose);
        let mut runtime: Vec<_> = boot(&hash).iter().map(RuntimeEvent::to_raw).collect();
        let rtmr3 = measured_app(&hash);
        (self.edit)(&mut runtime);
        let static_registers = &prediction.registers;
        let registers = Registers {
            mrtd: static_registers.mrtd.0,
            rtmrs: [static_registers.rtmr0.0, static_registers.rtmr1.0, static_registers.rtmr2.0, rtmr3],
            mrconfigid: mr_config::v1(&hash).0,
            mrowner: [0; 48],
            mrownerconfig: [0; 48],
        };
        let quoter = Quoter::new(&Self::chain().1, self.version, self.lie).unwrap();
        Evidence {
            quote: quoter.quote(&registers, &report_data::evidence(&NONCE).0),
            event_log: prediction.events.iter().map(firmware_event).chain(runtime).collect(),
            nonce: NONCE,
            claims: LaunchClaims { os_image_hash, shape: self.shape.clone() },
            app_compose: Some(app_compose),
        }
    }

    /// The real program's judgement against the built image, the unchanged app and the stated shape.
    fn judged(&self) -> Answer {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let image = lab::image(Flavour::Dev);
        let hash = lab::manifest(&image).os_image_hash();
        fs::write(file("evidence.json"), self.evidence(hash).to_json()).unwrap();
        let (now, chain) = Self::chain();
        fs::write(file("collateral.json"), Collateral::issue(&chain, now, self.lie).unwrap().to_json()).unwrap();
        write_app(folder.path(), COMPOSE, &app_compose::generate(NAME, COMPOSE).unwrap());
        let stated = &self.stated;
        let numbers = [stated.vcpus.to_string(), stated.memory_mib.to_string(), stated.root_slots.to_string()];
        let paths = [file("evidence.json"), file("collateral.json"), image, folder.path().to_owned()];
        let [evidence, collateral, image, app] = paths.map(|path| path.display().to_string());
        let [vcpus, memory, slots] = numbers;
        User::default().dstyx([
            "verify",
            "--evidence",
            &evidence,
            "--collateral",
            &collateral,
            "--image",
            &image,
            "--app",
            &app,
            "--vcpus",
            &vcpus,
            "--memory",
            &memory,
            "--root-slots",
            &slots,
            "--at",
            NOW,
        ])
    }
}

fn boot(hash: &ComposeHash) -> Vec<RuntimeEvent> {
    vec![
        RuntimeEvent::new(event_name::SYSTEM_PREPARING, []),
        RuntimeEvent::new(event_name::APP_ID, AppId::from_compose_hash(hash).0),
        RuntimeEvent::new(event_name::COMPOSE_HASH, hash.0),
        RuntimeEvent::new(event_name::INSTANCE_ID, []),
        RuntimeEvent::new(event_name::BOOT_MR_DONE, []),
        RuntimeEvent::new(event_name::KEY_PROVIDER, br#"{"name":"none","id":""}"#),
        RuntimeEvent::new(event_name::SYSTEM_READY, []),
    ]
}

/// RTMR3 of that boot, by the predictor and not by the list above.
fn measured_app(hash: &ComposeHash) -> [u8; 48] {
    let app = App {
        compose_hash: *hash,
        app_id: AppId::from_compose_hash(hash),
        instance_id: None,
        os_image_hash: None,
        key_provider: Some(r#"{"name":"none","id":""}"#.to_owned()),
        storage_fs: None,
    };
    measurement::predict_app(&app, Until::SystemReady).rtmr3.0
}

/// An event of the firmware as logs with dstack's layout carry it.
fn firmware_event(event: &measurement::Event) -> RawEvent {
    let imr = match event.register {
        Register::Rtmr0 => 0,
        Register::Rtmr1 => 1,
        Register::Rtmr2 => 2,
        Register::Rtmr3 => 3,
    };
    RawEvent {
        imr,
        event_type: event.event_type,
        digest: event.digest.to_string(),
        event: String::new(),
        event_payload: String::new(),
    }
}

fn event<'a>(log: &'a mut [RawEvent], name: &str) -> &'a mut RawEvent {
    log.iter_mut().find(|event| event.event == name).unwrap()
}

fn swap_ids(log: &mut [RawEvent]) {
    let at = log.iter().position(|event| event.event == event_name::APP_ID).unwrap();
    log.swap(at, at + 1);
}

fn flip_middle(bytes: &mut [u8]) {
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
}
