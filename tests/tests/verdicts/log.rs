//! The event log: unreadable, changed with and without its digests, out of order, or of a guest
//! that measured otherwise.

use attestation::CheckName::*;
use protocol::event_log::{RawEvent, RuntimeEvent};
use protocol::event_name;
use protocol::evidence::Evidence;
use tests::scene::event;

use crate::case::{Row, row};

/// EV_SEPARATOR.
const SEPARATOR: u32 = 4;

pub fn rows() -> Vec<Row> {
    [unreadable(), changed(), moved(), of_the_firmware(), measured()]
        .into_iter()
        .flatten()
        .collect()
}

fn unreadable() -> Vec<Row> {
    vec![
        row("a digest that is no hex", &[EventLog], "digest:", |case| {
            case.scene.edit = |log| event(log, event_name::APP_ID).digest = "zz".to_owned();
        }),
        row("a payload that is no hex", &[EventLog], "payload:", |case| {
            case.scene.edit = |log| event(log, event_name::APP_ID).event_payload = "0".to_owned();
        }),
        row("an event of another type in RTMR3", &[EventLog], "event type 0x00000001", |case| {
            case.scene.edit = |log| event(log, event_name::APP_ID).event_type = 1;
        }),
        row("an event without name", &[EventLog], "a name of 0 bytes", |case| {
            case.scene.edit = |log| event(log, event_name::KEY_PROVIDER).event = String::new();
        }),
        row("a colon that moved into the name", &[EventLog], "has a colon", |case| {
            case.scene.edit = |log| {
                // The same digest: RTMR3 cannot tell.
                let event = event(log, event_name::KEY_PROVIDER);
                event.event = format!("{}:{{\"name\"", event_name::KEY_PROVIDER);
                event.event_payload = hex::encode(br#""none","id":""}"#);
            };
        }),
        row("an event of a register that does not exist", &[EventLog], "register 4", |case| {
            case.scene.edit = |log| {
                let mut stray = log[0].clone();
                stray.imr = 4;
                log.push(stray);
            };
        }),
    ]
}

fn changed() -> Vec<Row> {
    vec![
        row("one event, its digest kept", &[EventPayload], "does not hash to its digest", |case| {
            case.scene.edit =
                |log| event(log, event_name::KEY_PROVIDER).event_payload = "7b7d".into();
        }),
        row(
            "one event with its digest",
            &[Rtmr3],
            "an event is absent, added, changed or moved",
            |case| {
                case.scene.edit = |log| {
                    let other =
                        RuntimeEvent::new(event_name::KEY_PROVIDER, br#"{"name":"kms","id":""}"#);
                    *event(log, event_name::KEY_PROVIDER) = other.to_raw();
                };
            },
        ),
        row("an event that nobody measured", &[Rtmr3], "does not replay to RTMR3", |case| {
            case.scene.edit = |log| log.push(RuntimeEvent::new("mine", "").to_raw());
        }),
    ]
}

fn moved() -> Vec<Row> {
    vec![
        row(
            "a dropped event of every boot",
            &[EventMissing, Rtmr3],
            event_name::BOOT_MR_DONE,
            |case| {
                case.scene.edit = |log| log.retain(|event| event.event != event_name::BOOT_MR_DONE);
            },
        ),
        row(
            "no event at all",
            &[EventMissing, Rtmr3, MeasuredFacts],
            event_name::SYSTEM_PREPARING,
            |case| {
                case.scene.edit = Vec::clear;
            },
        ),
        row("two events in the other order", &[EventOrder, Rtmr3], event_name::APP_ID, |case| {
            case.scene.edit = |log| log.swap(1, 2);
        }),
        row("a foreign event during the boot", &[EventOrder, Rtmr3], "mine", |case| {
            case.scene.edit = |log| log.insert(2, RuntimeEvent::new("mine", "").to_raw());
        }),
        row(
            "one event twice",
            &[EventRepeated, Rtmr3],
            "occurs once a boot occurs twice",
            |case| {
                case.scene.edit = |log| log.insert(2, log[1].clone());
            },
        ),
    ]
}

fn of_the_firmware() -> Vec<Row> {
    vec![
        row(
            "a second separator",
            &[EventSeparator, FirmwareLog],
            "a second one in RTMR0",
            |case| {
                case.evidence = |evidence| {
                    let at = evidence
                        .event_log
                        .iter()
                        .position(|event| event.event_type == SEPARATOR)
                        .unwrap();
                    evidence.event_log.insert(at, evidence.event_log[at].clone());
                };
            },
        ),
        row("one event of the firmware", &[FirmwareLog], "RTMR1 is ", |case| {
            case.evidence = |evidence| firmware_event(evidence, 1).digest.replace_range(..2, "00");
        }),
        row(
            "a digest of the firmware that is none",
            &[FirmwareLog],
            "not 48 bytes of hex",
            |case| {
                case.evidence = |evidence| firmware_event(evidence, 2).digest.truncate(10);
            },
        ),
    ]
}

fn measured() -> Vec<Row> {
    vec![
        row(
            "a boot event measured after the boot",
            &[EventLate],
            event_name::OS_IMAGE_HASH,
            |case| {
                case.scene.measured =
                    |events| events.push(RuntimeEvent::new(event_name::OS_IMAGE_HASH, [1; 32]));
            },
        ),
        row("a key provider that is no JSON", &[MeasuredFacts], "key-provider: ", |case| {
            case.scene.measured =
                |events| events[5] = RuntimeEvent::new(event_name::KEY_PROVIDER, "none");
        }),
        row("an app id of another length", &[MeasuredFacts], "app-id has 19 bytes", |case| {
            case.scene.measured =
                |events| events[1] = RuntimeEvent::new(event_name::APP_ID, [1; 19]);
        }),
        row(
            "an instance id of another length",
            &[MeasuredFacts],
            "instance-id has 1 bytes",
            |case| {
                case.scene.measured =
                    |events| events[3] = RuntimeEvent::new(event_name::INSTANCE_ID, [1]);
            },
        ),
    ]
}

/// The first entry of one of the firmware's registers.
fn firmware_event(evidence: &mut Evidence, register: u32) -> &mut RawEvent {
    evidence.event_log.iter_mut().find(|event| event.imr == register).unwrap()
}
