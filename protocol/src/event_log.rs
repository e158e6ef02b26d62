//! The run-time event log: what software in the guest extended into RTMR3, in dstack's encoding.
//!
//! A log is a claim by whoever sent it until [`replay`] of its digests equals a register of a
//! verified quote. Source: dstack's `cc-eventlog`, digest version 1.

use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::{Rtmr, Sha384Digest};
use crate::{event_name, strict_json};

/// TCG event type of a run-time event (dstack: `DSTACK_RUNTIME_EVENT_TYPE`).
pub const RUNTIME_EVENT_TYPE: u32 = 0x0800_0001;
/// The register that run-time events extend.
pub const RUNTIME_REGISTER: u32 = 3;
/// Most events in a log: a boot has about 20, applications may emit more; keeps a replay under a
/// millisecond.
pub const MAX_EVENTS: usize = 1024;
/// Longest event name; dstack's longest is 20.
pub const MAX_NAME_BYTES: usize = 128;
/// Longest payload of one event; covers certificates and small JSON documents.
pub const MAX_PAYLOAD_BYTES: usize = 64 * 1024;
/// Longest JSON text of a whole log.
pub const MAX_LOG_BYTES: usize = 4 * 1024 * 1024;
/// The same of a log that a guest of ours writes, which a peer reads on a channel before anything
/// is proved.
pub const MAX_GUEST_LOG_BYTES: usize = 1024 * 1024;

/// Why an event log was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventLogError {
    /// not a JSON event log
    #[error("event log: {0}")]
    Json(#[from] strict_json::JsonError),
    /// more events than the budget
    #[error("{found} events, at most {MAX_EVENTS} are accepted")]
    TooMany {
        /// Events present.
        found: usize,
    },
    /// a field is not what its event type wants
    #[error("event {index}: {what}")]
    Field {
        /// Position in the log, from 0.
        index: usize,
        /// What is wrong.
        what: String,
    },
    /// a name that lets one digest stand for two events
    #[error("event {index}: the name {name:?} has a colon or a control character; none may have")]
    Name {
        /// Position in the log, from 0.
        index: usize,
        /// The event's name.
        name: String,
    },
    /// the payload does not hash to the digest beside it
    #[error("event {index} ({name}): digest {stated} stated, its payload gives {computed}")]
    PayloadMismatch {
        /// Position in the log, from 0.
        index: usize,
        /// The event's name.
        name: String,
        /// Digest in the log.
        stated: Sha384Digest,
        /// Digest of name and payload.
        computed: Sha384Digest,
    },
    /// a boot event occurs twice
    #[error("event {index}: {name} occurs a second time")]
    Repeated {
        /// Position in the log, from 0.
        index: usize,
        /// The event's name.
        name: String,
    },
    /// a boot event stands behind one that must follow it
    #[error("event {index}: {name} after {after}")]
    OutOfOrder {
        /// Position in the log, from 0.
        index: usize,
        /// The event's name.
        name: String,
        /// The boot event before it.
        after: String,
    },
    /// a boot event's name behind `system-ready`
    #[error("event {index}: boot event {name} after system-ready")]
    AfterReady {
        /// Position in the log, from 0.
        index: usize,
        /// The event's name.
        name: String,
    },
    /// an application's event before `system-ready`
    #[error("event {index}: {name} is no boot event and stands before system-ready")]
    BeforeReady {
        /// Position in the log, from 0.
        index: usize,
        /// The event's name.
        name: String,
    },
    /// a boot event is absent
    #[error("the log has no {name} event")]
    Missing {
        /// The event's name.
        name: &'static str,
    },
}

/// One entry in dstack's JSON form, registers 0 to 3; as sent, nothing checked but syntax.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawEvent {
    /// Register index, 0 to 3.
    pub imr: u32,
    /// TCG event type.
    pub event_type: u32,
    /// Lower-case hex of 48 bytes; dstack leaves it empty for run-time events.
    pub digest: String,
    /// Name of a run-time event.
    pub event: String,
    /// Lower-case hex of the payload.
    pub event_payload: String,
}

/// A run-time event whose digest is that of its name and payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeEvent {
    /// Its name; see [`event_name`].
    pub name: String,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl RuntimeEvent {
    /// An event of the guest's own.
    pub fn new(name: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), payload: payload.into() }
    }

    /// What extends RTMR3: SHA-384(LE32(type) ‖ ":" ‖ name ‖ ":" ‖ payload). It has one reading
    /// only if the name [is unambiguous](event_name::is_unambiguous).
    pub fn digest(&self) -> Sha384Digest {
        let mut preimage = RUNTIME_EVENT_TYPE.to_le_bytes().to_vec();
        for part in [b":", self.name.as_bytes(), b":", &self.payload] {
            preimage.extend_from_slice(part);
        }
        Sha384Digest::of(&preimage)
    }

    /// dstack's JSON form, digest filled in.
    pub fn to_raw(&self) -> RawEvent {
        RawEvent {
            imr: RUNTIME_REGISTER,
            event_type: RUNTIME_EVENT_TYPE,
            digest: self.digest().to_string(),
            event: self.name.clone(),
            event_payload: hex::encode(&self.payload),
        }
    }
}

/// Parses the JSON list of a log.
pub fn parse(json: &[u8]) -> Result<Vec<RawEvent>, EventLogError> {
    let events: Vec<RawEvent> = strict_json::parse(json, MAX_LOG_BYTES)?;
    if events.len() > MAX_EVENTS {
        return Err(EventLogError::TooMany { found: events.len() });
    }
    Ok(events)
}

/// An event log in a JSON document: a list, or the text of one as dstack writes it.
#[derive(Debug)]
pub(crate) struct LogInJson(LogText);

#[derive(Debug)]
enum LogText {
    Text(String),
    List(Vec<RawEvent>),
}

impl LogInJson {
    /// The entries.
    pub(crate) fn parse(self) -> Result<Vec<RawEvent>, EventLogError> {
        match self.0 {
            LogText::Text(text) => parse(text.as_bytes()),
            LogText::List(events) => Ok(events),
        }
    }
}

impl<'de> Deserialize<'de> for LogInJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = LogText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of events, or the JSON text of one")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<LogText, E> {
                Ok(LogText::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<LogText, A::Error> {
                let mut events = Vec::new();
                while let Some(event) = list.next_element()? {
                    if events.len() == MAX_EVENTS {
                        let found = MAX_EVENTS + 1;
                        return Err(de::Error::custom(EventLogError::TooMany { found }));
                    }
                    events.push(event);
                }
                Ok(LogText::List(events))
            }
        }

        deserializer.deserialize_any(Either).map(Self)
    }
}

/// Takes the run-time events out of a log, in order; each stated digest must be that of its
/// payload.
///
/// Entries of registers 0 to 2 are the firmware's and are left to [`crate::tcg_log`]; an entry of
/// register 3 with another event type is refused, since nothing else in a dstyx guest extends it.
pub fn runtime_events(log: &[RawEvent]) -> Result<Vec<RuntimeEvent>, EventLogError> {
    let of_register = log.iter().enumerate().filter(|(_, event)| event.imr == RUNTIME_REGISTER);
    of_register.map(|(index, raw)| runtime_event(index, raw)).collect()
}

/// RTMR3 after all of `events`.
pub fn replay(events: &[RuntimeEvent]) -> Rtmr {
    events.iter().fold(Rtmr::ZERO, |register, event| register.extended_by(&event.digest()))
}

/// Checks the order of a dstyx boot: required events present, boot names once and in order, none
/// after `system-ready`, nothing foreign before it.
pub fn check_boot_order(events: &[RuntimeEvent]) -> Result<(), EventLogError> {
    let mut last: Option<usize> = None;
    let ready = event_name::boot_position(event_name::SYSTEM_READY);
    for (index, event) in events.iter().enumerate() {
        let name = event.name.clone();
        match event_name::boot_position(&name) {
            Some(_) if last.is_some() && last == ready => {
                return Err(EventLogError::AfterReady { index, name });
            }
            Some(position) if last == Some(position) => {
                return Err(EventLogError::Repeated { index, name });
            }
            Some(position) => {
                if let Some(before) = last.filter(|before| *before > position) {
                    return Err(misplaced(&events[..index], index, name, before));
                }
                last = Some(position);
            }
            None if last == ready => {}
            None => return Err(EventLogError::BeforeReady { index, name }),
        }
    }
    match event_name::REQUIRED.into_iter().find(|name| find(events, name).is_none()) {
        Some(name) => Err(EventLogError::Missing { name }),
        None => Ok(()),
    }
}

/// The first event called `name`.
pub fn find<'a>(events: &'a [RuntimeEvent], name: &str) -> Option<&'a RuntimeEvent> {
    events.iter().find(|event| event.name == name)
}

/// A boot event behind a later one: named a repetition if it stood earlier too.
fn misplaced(earlier: &[RuntimeEvent], index: usize, name: String, before: usize) -> EventLogError {
    if find(earlier, &name).is_some() {
        return EventLogError::Repeated { index, name };
    }
    EventLogError::OutOfOrder { index, name, after: event_name::BOOT[before].to_owned() }
}

fn runtime_event(index: usize, raw: &RawEvent) -> Result<RuntimeEvent, EventLogError> {
    let field = |what: String| EventLogError::Field { index, what };
    if raw.event_type != RUNTIME_EVENT_TYPE {
        return Err(field(format!(
            "event type {:#010x} in register 3, expected {RUNTIME_EVENT_TYPE:#010x}",
            raw.event_type
        )));
    }
    if raw.event.is_empty() || raw.event.len() > MAX_NAME_BYTES {
        return Err(field(format!(
            "a name of {} bytes, expected 1 to {MAX_NAME_BYTES}",
            raw.event.len()
        )));
    }
    if !event_name::is_unambiguous(&raw.event) {
        return Err(EventLogError::Name { index, name: raw.event.clone() });
    }
    if raw.event_payload.len() > 2 * MAX_PAYLOAD_BYTES {
        return Err(field(format!("a payload of more than {MAX_PAYLOAD_BYTES} bytes")));
    }
    let payload =
        hex::decode(&raw.event_payload).map_err(|error| field(format!("payload: {error}")))?;
    let event = RuntimeEvent::new(raw.event.clone(), payload);
    if !raw.digest.is_empty() {
        let stated = Sha384Digest::from_hex(&raw.digest)
            .map_err(|error| field(format!("digest: {error}")))?;
        let computed = event.digest();
        if stated != computed {
            return Err(EventLogError::PayloadMismatch {
                index,
                name: event.name,
                stated,
                computed,
            });
        }
    }
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot() -> Vec<RuntimeEvent> {
        let mut events: Vec<_> =
            event_name::REQUIRED.iter().map(|name| RuntimeEvent::new(*name, *b"x")).collect();
        events.push(RuntimeEvent::new(event_name::SYSTEM_READY, ""));
        events
    }

    #[test]
    fn the_order_of_a_boot_is_accepted_with_application_events_behind_it() {
        let mut events = boot();
        events.push(RuntimeEvent::new("mpc-image-digest", "1"));
        assert_eq!(check_boot_order(&events), Ok(()));
    }

    #[test]
    fn repeated_moved_missing_and_late_boot_events_have_their_own_errors() {
        let mut repeated = boot();
        repeated.insert(2, repeated[1].clone());
        assert!(matches!(
            check_boot_order(&repeated),
            Err(EventLogError::Repeated { index: 2, .. })
        ));

        let mut apart = boot();
        apart.insert(4, apart[1].clone());
        assert!(matches!(check_boot_order(&apart), Err(EventLogError::Repeated { index: 4, .. })));

        let mut moved = boot();
        moved.swap(1, 2);
        assert!(matches!(
            check_boot_order(&moved),
            Err(EventLogError::OutOfOrder { index: 2, .. })
        ));

        let mut missing = boot();
        missing.remove(3);
        assert_eq!(check_boot_order(&missing), Err(EventLogError::Missing { name: "instance-id" }));

        let mut late = boot();
        late.push(RuntimeEvent::new(event_name::KEY_PROVIDER, "{}"));
        assert!(matches!(check_boot_order(&late), Err(EventLogError::AfterReady { .. })));

        let mut early = boot();
        early.insert(1, RuntimeEvent::new("mine", ""));
        assert!(matches!(
            check_boot_order(&early),
            Err(EventLogError::BeforeReady { index: 1, .. })
        ));
    }

    /// `a:b` with payload `c` and `a` with payload `b:c` extend the same digest.
    #[test]
    fn a_name_that_moves_the_colon_is_refused() {
        let honest = RuntimeEvent::new("app-id", *b"b:c");
        let moved = RuntimeEvent::new("app-id:b", *b"c");
        assert_eq!(honest.digest(), moved.digest());
        assert_eq!(runtime_events(&[honest.to_raw()]).map(|events| events.len()), Ok(1));
        for name in ["app-id:b", ":", "app-id\n", "a\0", "a\u{85}"] {
            assert_eq!(
                runtime_events(&[RuntimeEvent::new(name, *b"c").to_raw()]),
                Err(EventLogError::Name { index: 0, name: name.to_owned() })
            );
        }
    }

    #[test]
    fn a_payload_that_is_not_its_digest_is_refused() {
        let mut raw = RuntimeEvent::new("app-id", [1, 2]).to_raw();
        assert_eq!(runtime_events(&[raw.clone()]).map(|events| events.len()), Ok(1));
        raw.event_payload = "0103".into();
        assert!(matches!(
            runtime_events(&[raw]),
            Err(EventLogError::PayloadMismatch { index: 0, .. })
        ));
    }
}
