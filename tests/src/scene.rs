//! A guest that never ran: evidence as one would have given it whose parts, machine or host are
//! what a test says.
//!
//! Registers come from the predictor, quote and collateral from the emulator's library:
//! `tdx-emulator/tests` shows that its service says the same, `tests/boots.rs` that booted guests
//! give such evidence.

use std::fs;
use std::path::Path;

use measurement::{App, FirmwareLayout, ImageFacts, ImageFiles, Prediction, Register, Until};
use protocol::digest::{AppId, ComposeHash, OsImageHash, ReportData, Sha256Digest};
use protocol::event_log::{self, RawEvent, RuntimeEvent};
use protocol::evidence::Evidence;
use protocol::image::{self, Artefact, Flavour, ImageManifest, MachineFacts, RESERVED_REPORT_DATA};
use protocol::launch::LaunchClaims;
use protocol::shape::Shape;
use protocol::{app_compose, fixtures, mr_config, report_data};
use tdx_emulator::collateral::Collateral;
use tdx_emulator::lie::Lie;
use tdx_emulator::pki::Chain;
use tdx_emulator::quote::platform::pck_facts;
use tdx_emulator::quote::{QuoteVersion, Quoter};
use tdx_emulator::registers::Registers;
use x509_cert::der::DateTime;

use crate::{lab, synthetic};

/// When everything here was made and is judged.
pub const NOW: &str = "2026-11-21T06:00:00Z";
/// What the verifier asked for.
pub const NONCE: [u8; 32] = [7; 32];
/// The app's compose file.
pub const COMPOSE: &str = "services:\n  web:\n    image: dstyx.local/web@sha256:\
    abababababababababababababababababababababababababababababababab\n";
/// The app's name.
pub const NAME: &str = "refusals";

/// What really ran and what the host made of it; a case changes one thing.
#[derive(Clone)]
pub struct Scene {
    /// The firmware file.
    pub firmware: Vec<u8>,
    /// The kernel file.
    pub kernel: Vec<u8>,
    /// The initial file system.
    pub initrd: Vec<u8>,
    /// The command line.
    pub cmdline: String,
    /// The machine.
    pub shape: Shape,
    /// The compose file that was measured.
    pub compose: String,
    /// Whether the guest publishes the file that it measured.
    pub published: bool,
    /// MRCONFIGID, if not that of the app.
    pub mrconfigid: Option<[u8; 48]>,
    /// What the guest measured besides, or instead.
    pub measured: fn(&mut Vec<RuntimeEvent>),
    /// The run-time log as the host passes it on.
    pub edit: fn(&mut Vec<RawEvent>),
    /// What hardware or collateral lie about.
    pub lie: Option<Lie>,
    /// Layout of the quote.
    pub version: QuoteVersion,
}

impl Scene {
    /// A built image in the default machine.
    pub fn of_image(directory: &Path) -> Self {
        let manifest = lab::manifest(directory);
        let read = |name: &str| fs::read(directory.join(name)).unwrap();
        let shape = default_shape(&manifest);
        let (firmware, kernel) = (read(&manifest.firmware.file), read(&manifest.kernel.file));
        Self::with([firmware, kernel, read(&manifest.initrd.file)], manifest.cmdline, shape)
    }

    /// An image made of nothing, which needs no build.
    pub fn synthetic() -> Self {
        let initrd = b"an initial file system made of nothing".to_vec();
        // Every implementation hashes files of a multiple of 8 bytes alike.
        let kernel = [synthetic::kernel(), vec![0; 4]].concat();
        let cmdline = "no-kvmclock quiet".to_owned();
        Self::with([synthetic::firmware(), kernel, initrd], cmdline, fixtures::shape())
    }

    fn with([firmware, kernel, initrd]: [Vec<u8>; 3], cmdline: String, shape: Shape) -> Self {
        Self {
            firmware,
            kernel,
            initrd,
            cmdline,
            shape,
            compose: COMPOSE.to_owned(),
            published: true,
            mrconfigid: None,
            measured: |_| {},
            edit: |_| {},
            lie: None,
            version: QuoteVersion::V4,
        }
    }

    /// What the predictor reads.
    pub fn files(&self) -> ImageFiles<'_> {
        let Self { firmware, kernel, initrd, cmdline, .. } = self;
        ImageFiles { firmware, layout: Some(FirmwareLayout::Edk2_2025_02), kernel, initrd, cmdline }
    }

    /// MRTD, RTMR0 to RTMR2 and their events.
    pub fn prediction(&self) -> Prediction {
        let facts = ImageFacts::from_files(&self.files()).unwrap();
        measurement::predict_registers(&facts, &self.shape).unwrap()
    }

    /// The list of the image's parts.
    pub fn manifest(&self, flavour: Flavour) -> ImageManifest {
        let facts = ImageFacts::from_files(&self.files()).unwrap();
        let artefact = |file: &str, bytes: &[u8]| Artefact {
            file: file.to_owned(),
            size: bytes.len() as u64,
            sha256: Sha256Digest::of(bytes),
        };
        let Self { firmware, kernel, initrd, cmdline, shape, .. } = self;
        ImageManifest {
            version: image::VERSION,
            dstyx_version: "0.1.0".to_owned(),
            flavour,
            source_date_epoch: 0,
            cmdline: cmdline.clone(),
            firmware: artefact("firmware.fd", firmware),
            kernel: artefact("kernel", kernel),
            initrd: artefact("initrd", initrd),
            reference: facts.reference(),
            firmware_facts: facts.firmware,
            kernel_facts: facts.kernel,
            machine: MachineFacts {
                qemu_version: shape.qemu_version.clone(),
                serial_ports: shape.serial_ports,
                root_slots: shape.root_slots,
            },
            reserved_report_data: Some(RESERVED_REPORT_DATA),
            pad_engines: None,
        }
    }

    /// The app file that was measured.
    pub fn app_compose(&self) -> Vec<u8> {
        app_compose::generate(NAME, &self.compose).unwrap()
    }

    /// What the guest answers to [`NONCE`]; image and shape are claimed as they are.
    pub fn evidence(&self, os_image_hash: OsImageHash) -> Evidence {
        self.evidence_for(os_image_hash, &report_data::evidence(&NONCE))
    }

    /// The same for other report data, such as that of a channel.
    pub fn evidence_for(&self, os_image_hash: OsImageHash, report_data: &ReportData) -> Evidence {
        let prediction = self.prediction();
        let app_compose = self.app_compose();
        let hash = ComposeHash::of(&app_compose);
        let mut events = fixtures::boot(&hash, &[]);
        assert_eq!(
            event_log::replay(&events).0,
            measured_app(&hash),
            "the predictor knows another boot"
        );
        (self.measured)(&mut events);
        let mut runtime: Vec<_> = events.iter().map(RuntimeEvent::to_raw).collect();
        (self.edit)(&mut runtime);
        let static_registers = &prediction.registers;
        let (rtmr0, rtmr1, rtmr2) =
            (static_registers.rtmr0.0, static_registers.rtmr1.0, static_registers.rtmr2.0);
        let registers = Registers {
            mrtd: static_registers.mrtd.0,
            rtmrs: [rtmr0, rtmr1, rtmr2, event_log::replay(&events).0],
            mrconfigid: self.mrconfigid.unwrap_or_else(|| mr_config::v1(&hash).0),
            mrowner: [0; 48],
            mrownerconfig: [0; 48],
        };
        let quoter = Quoter::new(&self.chain(), self.version, self.lie).unwrap();
        Evidence {
            quote: quoter.quote(&registers, &report_data.0),
            event_log: prediction.events.iter().map(firmware_event).chain(runtime).collect(),
            nonce: NONCE,
            claims: LaunchClaims { os_image_hash, shape: self.shape.clone() },
            app_compose: self.published.then_some(app_compose),
        }
    }

    /// The collateral of its platform, issued at [`NOW`].
    pub fn collateral_json(&self) -> Vec<u8> {
        Collateral::issue(&self.chain(), now(), self.lie).unwrap().to_json()
    }

    fn chain(&self) -> Chain {
        Chain::issue(now(), &pck_facts(self.lie), self.lie).unwrap()
    }
}

/// The machine that `dstyx up` gives an image when nothing else is asked for.
pub fn default_shape(manifest: &ImageManifest) -> Shape {
    Shape {
        vcpus: 2,
        memory_mib: 2048,
        root_slots: manifest.machine.root_slots,
        serial_ports: manifest.machine.serial_ports,
        qemu_version: manifest.machine.qemu_version.clone(),
        pci_hotplug: true,
    }
}

/// [`NOW`] in seconds since 1970.
pub fn now_secs() -> u64 {
    now().unix_duration().as_secs()
}

/// The first entry of that name.
pub fn event<'a>(log: &'a mut [RawEvent], name: &str) -> &'a mut RawEvent {
    log.iter_mut().find(|event| event.event == name).unwrap()
}

/// Another bit in the middle of a file.
pub fn flip_middle(bytes: &mut [u8]) {
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
}

fn now() -> DateTime {
    NOW.parse().unwrap()
}

/// RTMR3 of a boot, by the predictor and not by the list of events.
fn measured_app(hash: &ComposeHash) -> [u8; 48] {
    let app = App {
        compose_hash: *hash,
        app_id: AppId::from_compose_hash(hash),
        instance_id: None,
        os_image_hash: None,
        key_provider: Some(r#"{"name":"none","id":""}"#.to_owned()),
        storage_fs: Some("btrfs".to_owned()),
        danger_privileged: false,
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
