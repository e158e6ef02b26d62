//! Guests that never ran and speak for themselves: on a channel each proves itself now, with a
//! quote of the emulator's library over the report data that it is asked for.
//!
//! [`crate::scene`] gives evidence of one moment, whose parts a test changes.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::thread;
use std::time::SystemTime;

use channel::Attester;
use protocol::channel::{Binding, Proof};
use protocol::digest::{AppId, ComposeHash, OsImageHash, ReportData};
use protocol::event_log::{self, RuntimeEvent};
use protocol::event_name;
use protocol::evidence::Evidence;
use protocol::image::{Flavour, ImageManifest};
use protocol::launch::LaunchClaims;
use protocol::{app_compose, fixtures, mr_config};
use tdx_emulator::collateral::Collateral;
use tdx_emulator::lie::Lie;
use tdx_emulator::pccs::server::Server;
use tdx_emulator::pki::machine::Machine;
use tdx_emulator::pki::{Chain, root_certificate};
use tdx_emulator::quote::platform::pck_facts_of;
use tdx_emulator::quote::{QuoteVersion, Quoter};
use tdx_emulator::registers::Registers;
use x509_cert::der::{DateTime, Encode as _};

use crate::scene::{COMPOSE, Scene};

/// The image of all guests here, made of nothing; its agent reserves report data.
pub fn image() -> &'static ImageManifest {
    static IMAGE: OnceLock<ImageManifest> = OnceLock::new();
    IMAGE.get_or_init(|| Scene::synthetic().manifest(Flavour::Release))
}

/// The name of [`image`].
pub fn os_image_hash() -> OsImageHash {
    image().os_image_hash()
}

/// A guest of [`image`] with one measured app.
#[derive(Debug, Clone)]
pub struct Emulated {
    /// The measured file.
    pub file: Vec<u8>,
    /// Whether its boot is over.
    pub ready: bool,
    /// Bytes of its instance id.
    pub instance: u8,
    /// The app id that its host stated, if that is not the file's own.
    pub stated_app: Option<AppId>,
    quoter: Quoter,
    registers: Registers,
    claims: LaunchClaims,
}

impl Emulated {
    /// On a machine that every other one is too.
    pub fn new(name: &str, ready: bool) -> Self {
        Self::on(Machine::default(), name, ready)
    }

    /// On one of several machines.
    pub fn on(machine: Machine, name: &str, ready: bool) -> Self {
        Self::of(machine, app_compose::generate(name, COMPOSE).unwrap(), ready)
    }

    /// With a measured file of the test's.
    pub fn of(machine: Machine, file: Vec<u8>, ready: bool) -> Self {
        let predicted = Scene::synthetic().prediction().registers;
        let mrconfigid = mr_config::v1(&ComposeHash::of(&file)).0;
        let mut registers = Registers::new(predicted.mrtd.0, mrconfigid);
        registers.rtmrs = [predicted.rtmr0.0, predicted.rtmr1.0, predicted.rtmr2.0, [0; 48]];
        let quoter = Quoter::new(&chain(machine, now()), QuoteVersion::V4, None).unwrap();
        let claims = LaunchClaims { os_image_hash: os_image_hash(), shape: fixtures::shape() };
        Self { file, ready, instance: 0xbb, stated_app: None, quoter, registers, claims }
    }

    /// The id of its app.
    pub fn app_id(&self) -> AppId {
        self.stated_app.unwrap_or_else(|| AppId::from_compose_hash(&self.compose_hash()))
    }

    /// The hash of its measured file.
    pub fn compose_hash(&self) -> ComposeHash {
        ComposeHash::of(&self.file)
    }

    /// What the guest's agent gives for this report data.
    pub fn evidence(&self, report_data: ReportData) -> Evidence {
        let mut events = fixtures::boot(&self.compose_hash(), &[self.instance; 20]);
        let app = events.iter_mut().find(|event| event.name == event_name::APP_ID);
        app.unwrap().payload = self.app_id().0.to_vec();
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
            claims: self.claims.clone(),
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

/// The certificate of the emulator's root, in DER.
pub fn root() -> Vec<u8> {
    root_certificate().unwrap().to_der().unwrap()
}

/// The collateral of the platform of [`Emulated::new`], as of now.
pub fn collateral_json() -> Vec<u8> {
    let now = now();
    Collateral::issue(&chain(Machine::default(), now), now, None).unwrap().to_json()
}

/// The address of a service with the emulated platform's collateral, honest or not.
pub fn pccs(lie: Option<Lie>) -> String {
    let server = Server::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), lie, SystemTime::now);
    let server = server.unwrap();
    let address = format!("http://{}", server.address());
    thread::spawn(move || server.run());
    address
}

fn chain(machine: Machine, now: DateTime) -> Chain {
    Chain::issue(now, &pck_facts_of(machine, None), None).unwrap()
}

fn now() -> DateTime {
    DateTime::from_system_time(SystemTime::now()).unwrap()
}
