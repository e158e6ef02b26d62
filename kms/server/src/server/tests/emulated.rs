//! Guests that never ran: predicted registers, quoted by the emulator.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::SystemTime;

use attestation::TrustAnchor;
use channel::Attester;
use measurement::{FactsError, ImageFacts, Register, predict_registers};
use protocol::channel::{Binding, Proof};
use protocol::digest::{
    AppId, ComposeHash, Mrtd, OsImageHash, ReportData, Rtmr, Sha256Digest, Sha384Digest,
};
use protocol::event_log::{self, RuntimeEvent};
use protocol::event_name;
use protocol::evidence::Evidence;
use protocol::image::{
    Artefact, FirmwareFacts, Flavour, ImageManifest, KernelFacts, MachineFacts, MrtdOrders,
    RESERVED_REPORT_DATA, Reference, VERSION,
};
use protocol::launch::LaunchClaims;
use protocol::{app_compose, fixtures, mr_config};
use tdx_emulator::lie::Lie;
use tdx_emulator::pccs::server::Server;
use tdx_emulator::pki::machine::Machine;
use tdx_emulator::pki::{Chain, root_certificate};
use tdx_emulator::quote::platform::pck_facts_of;
use tdx_emulator::quote::{QuoteVersion, Quoter};
use tdx_emulator::registers::Registers;
use x509_cert::der::{DateTime, Encode as _};

/// An image made of nothing but its list, whose agent reserves report data.
pub fn image() -> ImageManifest {
    let artefact =
        |file: &str| Artefact { file: file.into(), size: 1, sha256: Sha256Digest([1; 32]) };
    let zero = Mrtd([0x5a; 48]);
    let mut manifest = ImageManifest {
        version: VERSION,
        dstyx_version: "0.1.0".into(),
        flavour: Flavour::Release,
        source_date_epoch: 1,
        cmdline: "quiet".into(),
        firmware: artefact("firmware.fd"),
        kernel: artefact("kernel"),
        initrd: artefact("initrd"),
        firmware_facts: FirmwareFacts {
            layout: "edk2-2025.02".into(),
            td_hob_base: 0x80_9000,
            accepted_ranges: vec![(0, 0x1000), (0x80_0000, 0x1000)],
            cfv_sha384: Sha384Digest([7; 48]),
        },
        kernel_facts: KernelFacts {
            authenticode_sha384: Sha384Digest([8; 48]),
            initrd_sha384: Sha384Digest([9; 48]),
        },
        machine: MachineFacts {
            qemu_version: fixtures::shape().qemu_version,
            serial_ports: 1,
            root_slots: 5,
        },
        reserved_report_data: Some(RESERVED_REPORT_DATA),
        reference: Reference {
            mrtd: MrtdOrders { single_pass: zero, two_pass: zero },
            rtmr1: Rtmr::ZERO,
            rtmr2: Rtmr::ZERO,
        },
    };
    // The list must state what follows from it.
    while let Err(error) = ImageFacts::from_manifest(&manifest) {
        match error {
            FactsError::Reference { register: Register::Rtmr1, computed, .. } => {
                manifest.reference.rtmr1 = computed;
            }
            FactsError::Reference { computed, .. } => manifest.reference.rtmr2 = computed,
            other => panic!("{other}"),
        }
    }
    manifest
}

/// A guest of [`image`] with one measured app.
#[derive(Debug, Clone)]
pub struct Emulated {
    pub file: Vec<u8>,
    /// Whether its boot is over.
    pub ready: bool,
    /// Bytes of its instance id.
    pub instance: u8,
    quoter: Quoter,
    registers: Registers,
}

impl Emulated {
    pub fn new(name: &str, ready: bool) -> Self {
        Self::on(Machine::default(), name, ready)
    }

    /// On one of several machines.
    pub fn on(machine: Machine, name: &str, ready: bool) -> Self {
        let manifest = image();
        let facts = ImageFacts::from_manifest(&manifest).unwrap();
        let predicted = predict_registers(&facts, &fixtures::shape()).unwrap().registers;
        let compose = "services:\n  web:\n    image: dstyx.local/web@sha256:\
            abababababababababababababababababababababababababababababababab\n";
        let file = app_compose::generate(name, compose).unwrap();
        let mrconfigid = mr_config::v1(&ComposeHash::of(&file)).0;
        let mut registers = Registers::new(predicted.mrtd.0, mrconfigid);
        registers.rtmrs = [predicted.rtmr0.0, predicted.rtmr1.0, predicted.rtmr2.0, [0; 48]];
        let now = DateTime::from_system_time(SystemTime::now()).unwrap();
        let chain = Chain::issue(now, &pck_facts_of(machine, None), None).unwrap();
        let quoter = Quoter::new(&chain, QuoteVersion::V4, None).unwrap();
        Self { file, ready, instance: 0xbb, quoter, registers }
    }

    pub fn app_id(&self) -> AppId {
        AppId::from_compose_hash(&self.compose_hash())
    }

    pub fn compose_hash(&self) -> ComposeHash {
        ComposeHash::of(&self.file)
    }

    /// What the guest's agent gives for this report data.
    pub fn evidence(&self, report_data: ReportData) -> Evidence {
        let mut events = fixtures::boot(&self.compose_hash(), &[self.instance; 20]);
        if !self.ready {
            let done = events.iter().position(|event| event.name == event_name::BOOT_MR_DONE);
            events.truncate(done.unwrap() + 1);
        }
        let mut registers = self.registers.clone();
        registers.rtmrs[3] = event_log::replay(&events).0;
        Evidence {
            quote: self.quoter.quote(&registers, &report_data.0),
            event_log: events.iter().map(RuntimeEvent::to_raw).collect(),
            nonce: [0; 32],
            claims: LaunchClaims { os_image_hash: os_image_hash(), shape: fixtures::shape() },
            app_compose: None,
        }
    }
}

impl Attester for Emulated {
    async fn prove(&self, binding: &Binding) -> Result<Proof, String> {
        let Evidence { quote, event_log, claims, .. } =
            self.evidence(binding.report_data().unwrap());
        let (app_compose, statement) = (self.file.clone(), Vec::new());
        Ok(Proof { quote, event_log, claims, app_compose, statement })
    }
}

pub fn os_image_hash() -> OsImageHash {
    image().os_image_hash()
}

/// The emulator's root, which a test accepts by name.
pub fn anchor() -> TrustAnchor {
    TrustAnchor::DangerEmulated(root_certificate().unwrap().to_der().unwrap())
}

/// The address of a service with the emulated platform's collateral, honest or not.
pub fn pccs(lie: Option<Lie>) -> String {
    let server = Server::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), lie, SystemTime::now);
    let server = server.unwrap();
    let address = format!("http://{}", server.address());
    thread::spawn(move || server.run());
    address
}
