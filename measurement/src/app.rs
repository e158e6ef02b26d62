//! RTMR3: what the guest measures of its application, in dstack's encoding and order.
//!
//! Names, order and digests are those of `protocol`; this module only says which events a boot has
//! and with which payloads.

use protocol::digest::{AppId, ComposeHash, InstanceId, OsImageHash, Rtmr};
use protocol::event_log::{RUNTIME_EVENT_TYPE, RuntimeEvent};
use protocol::event_name;

use crate::event::{Event, Origin, Register, replay};

/// Up to which event of the boot a prediction goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Until {
    /// Everything that a key release depends on has been measured.
    #[default]
    BootMrDone,
    /// The boot is complete.
    SystemReady,
}

/// What is measured of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Of its exact `app-compose.json`.
    pub compose_hash: ComposeHash,
    /// Its id.
    pub app_id: AppId,
    /// Its instance's id; `None` with `no_instance_id`.
    pub instance_id: Option<InstanceId>,
    /// The image hash that a KMS verified; `None` without a KMS.
    pub os_image_hash: Option<OsImageHash>,
    /// The exact JSON of who gave the keys; only measured behind `boot-mr-done`.
    pub key_provider: Option<String>,
    /// File system of the data disk; `None` without a disk.
    pub storage_fs: Option<String>,
    /// Whether its measured file allows it to depart from the default confinement.
    pub danger_privileged: bool,
}

/// RTMR3 and how it came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppPrediction {
    /// The register's value.
    pub rtmr3: Rtmr,
    /// Its events.
    pub events: Vec<Event>,
}

/// Predicts RTMR3 up to an event of the boot.
pub fn predict_app(app: &App, until: Until) -> AppPrediction {
    let events: Vec<Event> = runtime_events(app, until).iter().map(event).collect();
    AppPrediction { rtmr3: replay(Register::Rtmr3, &events), events }
}

fn runtime_events(app: &App, until: Until) -> Vec<RuntimeEvent> {
    let instance_id = app.instance_id.map(|id| id.0.to_vec()).unwrap_or_default();
    let mut events = vec![
        RuntimeEvent::new(event_name::SYSTEM_PREPARING, []),
        RuntimeEvent::new(event_name::APP_ID, app.app_id.0),
        RuntimeEvent::new(event_name::COMPOSE_HASH, app.compose_hash.0),
        RuntimeEvent::new(event_name::INSTANCE_ID, instance_id),
    ];
    events.extend(
        app.danger_privileged.then(|| RuntimeEvent::new(event_name::DANGER_PRIVILEGED, [])),
    );
    events.push(RuntimeEvent::new(event_name::BOOT_MR_DONE, []));
    if until == Until::SystemReady {
        events.extend(
            app.os_image_hash.map(|hash| RuntimeEvent::new(event_name::OS_IMAGE_HASH, hash.0)),
        );
        events.extend(
            app.key_provider
                .as_deref()
                .map(|json| RuntimeEvent::new(event_name::KEY_PROVIDER, json)),
        );
        events.extend(
            app.storage_fs.as_deref().map(|fs| RuntimeEvent::new(event_name::STORAGE_FS, fs)),
        );
        events.push(RuntimeEvent::new(event_name::SYSTEM_READY, []));
    }
    events
}

fn event(runtime: &RuntimeEvent) -> Event {
    let preimage =
        format!("event {} with a payload of {} bytes", runtime.name, runtime.payload.len());
    Event {
        register: Register::Rtmr3,
        name: runtime.name.clone().into(),
        event_type: RUNTIME_EVENT_TYPE,
        digest: runtime.digest(),
        preimage: preimage.into(),
        origin: Origin::Computed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_allows_stands_before_what_a_key_release_depends_on() {
        let app = |danger_privileged| App {
            compose_hash: ComposeHash([1; 32]),
            app_id: AppId([2; 20]),
            instance_id: None,
            os_image_hash: None,
            key_provider: None,
            storage_fs: None,
            danger_privileged,
        };
        let names = |danger_privileged| {
            let events = runtime_events(&app(danger_privileged), Until::BootMrDone);
            events[3..].iter().map(|event| event.name.clone()).collect::<Vec<_>>()
        };
        let allowed =
            [event_name::INSTANCE_ID, event_name::DANGER_PRIVILEGED, event_name::BOOT_MR_DONE];
        assert_eq!(names(true), allowed);
        assert_eq!(names(false), [event_name::INSTANCE_ID, event_name::BOOT_MR_DONE]);
    }
}
