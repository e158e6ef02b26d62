//! Phase 5: the app stands in RTMR3, before anything of it runs and before any key could be asked
//! for.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::app_compose::AppCompose;
use protocol::digest::{AppId, InstanceId, MrConfigId};
use protocol::event_log::RuntimeEvent;
use protocol::handover::{self, Handover};
use protocol::launch::Launch;
use protocol::status::{Phase, Refusal};
use protocol::{event_name, mr_config};
use tee::{EventLog, TdxGuest};

use super::{LaunchRead, Mounted, TimeFloored};
use crate::disks::Disks;
use crate::halt::Halt;
use crate::status;

/// Holding one says: RTMR3 holds the app's events up to `boot-mr-done`, MRCONFIGID does not
/// contradict them, and the handover is written.
pub struct AppMeasured {
    /// The services that get a socket for Pads.
    pub pad_services: Vec<String>,
}

impl AppMeasured {
    /// Extends the app's identity and hands over to the agent.
    pub fn enter(TimeFloored { launched }: TimeFloored) -> Result<Self, Halt> {
        let halt = |refusal, cause: String| Halt::new(Phase::AppMeasured, refusal, cause);
        let LaunchRead { machine: Mounted { tdx, disks }, launch, app } = launched;
        let identity = Identity::of(&launch, &app);
        check_mr_config_id(&tdx, &app, &identity)?;
        let log = EventLog::new(handover::EVENT_LOG_PATH, tdx);
        log.append_all(&identity.events(&app))
            .map_err(|error| halt(Refusal::MeasurementFailed, error.to_string()))?;
        let file = handover(launch, &app, identity, &disks).to_json();
        write_private(Path::new(handover::PATH), &file)
            .map_err(|error| halt(Refusal::Internal, format!("{}: {error}", handover::PATH)))?;
        status::reached(Phase::AppMeasured);
        Ok(Self { pad_services: app.pad_services })
    }
}

/// What distinguishes this app, and this instance of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    app_id: AppId,
    instance_id: Option<InstanceId>,
}

impl Identity {
    /// dstack's rules: a stated id or the compose hash's first bytes; an instance id unless the app
    /// has none.
    fn of(launch: &Launch, app: &AppCompose) -> Self {
        let app_id = launch.app_id.unwrap_or_else(|| AppId::from_compose_hash(&app.hash));
        let instance_id =
            (!app.no_instance_id).then(|| InstanceId::derive(&launch.instance_id_seed, &app_id));
        Self { app_id, instance_id }
    }

    /// Init's events, in the order of a boot. What weakens the confinement of containers stands
    /// before `boot-mr-done`, so that a key release can judge it.
    fn events(&self, app: &AppCompose) -> Vec<RuntimeEvent> {
        let instance_id = self.instance_id.map(|id| id.0.to_vec()).unwrap_or_default();
        let mut events = vec![
            RuntimeEvent::new(event_name::SYSTEM_PREPARING, ""),
            RuntimeEvent::new(event_name::APP_ID, self.app_id.0),
            RuntimeEvent::new(event_name::COMPOSE_HASH, app.hash.0),
            RuntimeEvent::new(event_name::INSTANCE_ID, instance_id),
        ];
        if app.danger_privileged {
            events.push(RuntimeEvent::new(event_name::DANGER_PRIVILEGED, ""));
        }
        events.push(RuntimeEvent::new(event_name::BOOT_MR_DONE, ""));
        events
    }
}

fn check_mr_config_id(tdx: &TdxGuest, app: &AppCompose, identity: &Identity) -> Result<(), Halt> {
    let halt = |refusal, cause: String| Halt::new(Phase::AppMeasured, refusal, cause);
    let register =
        tdx.mr_config_id().map_err(|error| halt(Refusal::MeasurementFailed, error.to_string()))?;
    let expected = expected_mr_config_id(app, identity);
    match mr_config::matches(&register, &expected) {
        true => Ok(()),
        false => Err(halt(
            Refusal::MrConfigIdMismatch,
            format!("MRCONFIGID is {register}, expected {expected}"),
        )),
    }
}

/// V1 for an app without keys, V3 for one whose KMS is pinned.
fn expected_mr_config_id(app: &AppCompose, identity: &Identity) -> MrConfigId {
    mr_config::expected(
        &app.hash,
        &identity.app_id,
        identity.instance_id.as_ref(),
        app.key_provider.name(),
        &app.key_provider.id(),
    )
}

fn handover(launch: Launch, app: &AppCompose, identity: Identity, disks: &Disks) -> Handover {
    Handover {
        app_compose: STANDARD.encode(&launch.app_compose),
        app_id: identity.app_id,
        instance_id: identity.instance_id,
        compose_hash: app.hash,
        registry_mirrors: launch.registry_mirrors,
        kms_urls: launch.kms_urls,
        gateway_urls: launch.gateway_urls,
        encrypted_env: launch.encrypted_env.map(|bytes| STANDARD.encode(bytes)),
        claims: launch.claims,
        disks: disks.to_map(),
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use protocol::app_compose::{KeyProvider, NewApp};
    use protocol::digest::Sha256Digest;
    use protocol::fixtures;

    use super::*;

    fn launch(app_compose: Vec<u8>) -> Launch {
        Launch {
            app_compose,
            app_id: None,
            instance_id_seed: [7; 20],
            kms_urls: vec![],
            gateway_urls: vec![],
            registry_mirrors: vec![],
            encrypted_env: None,
            claims: fixtures::claims(),
        }
    }

    #[test]
    fn events_are_init_s_part_of_a_boot_and_bind_the_compose_bytes() {
        let bytes = protocol::app_compose::generate("hello", "services: {}\n").unwrap();
        let (launch, app) = (launch(bytes.clone()), protocol::app_compose::parse(&bytes).unwrap());
        let identity = Identity::of(&launch, &app);
        let events = identity.events(&app);
        assert_eq!(protocol::event_log::check_boot_order(&events), Ok(()));
        assert_eq!(events[1].payload, app.hash.0[..20]);
        assert_eq!(events[3].payload.len(), 20);
    }

    #[test]
    fn what_the_file_allows_is_measured_before_a_key_is_released_used_or_not() {
        let files = Default::default();
        let new =
            NewApp { danger_privileged: true, ..NewApp::of("hello", "services: {}\n", &files) };
        let bytes = new.generate().unwrap();
        let (launch, app) = (launch(bytes.clone()), protocol::app_compose::parse(&bytes).unwrap());
        let events = Identity::of(&launch, &app).events(&app);
        assert_eq!(protocol::event_log::check_boot_order(&events), Ok(()));
        let last: Vec<_> = events[4..].iter().map(|event| event.name.as_str()).collect();
        assert_eq!(last, [event_name::DANGER_PRIVILEGED, event_name::BOOT_MR_DONE]);
    }

    #[test]
    fn a_stated_app_id_is_used_and_an_app_can_do_without_instance_ids() {
        let bytes = protocol::app_compose::generate("hello", "services: {}\n").unwrap();
        let mut app = protocol::app_compose::parse(&bytes).unwrap();
        app.no_instance_id = true;
        let mut launch = launch(bytes);
        launch.app_id = Some(AppId([9; 20]));
        let identity = Identity::of(&launch, &app);
        assert_eq!(identity, Identity { app_id: AppId([9; 20]), instance_id: None });
        assert!(identity.events(&app)[3].payload.is_empty());
    }

    #[test]
    fn a_pinned_kms_is_in_mrconfigid_and_its_addresses_are_handed_over() {
        let files = Default::default();
        let key_provider = KeyProvider::Kms { id: Sha256Digest([0xaa; 32]) };
        let new = NewApp { key_provider, ..NewApp::of("hello", "services: {}\n", &files) };
        let bytes = new.generate().unwrap();
        let app = protocol::app_compose::parse(&bytes).unwrap();
        let mut launch = launch(bytes);
        launch.kms_urls = vec!["https://10.0.2.2:8443".into()];
        launch.gateway_urls = vec!["https://10.0.2.2:9443".into()];
        launch.encrypted_env = Some(b"sealed".to_vec());
        let identity = Identity::of(&launch, &app);
        let config = mr_config::ConfigV3 {
            app_id: identity.app_id,
            compose_hash: app.hash,
            instance_id: identity.instance_id.unwrap().to_string(),
            key_provider: "kms".into(),
            key_provider_id: "aa".repeat(32),
            version: 3,
        };
        assert_eq!(expected_mr_config_id(&app, &identity), mr_config::v3(&config));
        let none = protocol::app_compose::generate("hello", "services: {}\n").unwrap();
        let none = protocol::app_compose::parse(&none).unwrap();
        assert_eq!(expected_mr_config_id(&none, &identity), mr_config::v1(&none.hash));
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("sys/block")).unwrap();
        let disks = Disks::scan(root.path()).unwrap();
        let handover = handover(launch, &app, identity, &disks);
        assert_eq!(handover.kms_urls, ["https://10.0.2.2:8443"]);
        assert_eq!(handover.gateway_urls, ["https://10.0.2.2:9443"]);
        assert_eq!(handover.encrypted_env.as_deref(), Some("c2VhbGVk"));
        assert_eq!(Handover::parse(&handover.to_json()), Ok(handover));
    }

    #[test]
    fn the_handover_is_private_and_written_once() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("handover.json");
        write_private(&path, b"{}").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write_private(&path, b"{}").is_err());
    }
}
