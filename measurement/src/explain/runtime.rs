//! RTMR3: why a log of the guest's own events does not replay to it.

use protocol::digest::{Rtmr, Sha384Digest};
use protocol::event_log::{RUNTIME_EVENT_TYPE, RuntimeEvent};

use super::alignment;
use super::cause::{Cause, Explanation};
use crate::event::{Event, Origin, Register};

/// Most events of a log that are moved, left out and repeated; a boot has nine, and the work grows
/// by the cube.
const MAX_EVENTS: usize = 32;

/// Explains an RTMR3 that is not the one that `log` replays to, `None` if it is.
pub fn explain_runtime(log: &[RuntimeEvent], found: Rtmr) -> Option<Explanation> {
    let events: Vec<Event> = log.iter().map(event).collect();
    let value = |digests: &[Sha384Digest]| Rtmr::replay(digests);
    if value(&events.iter().map(|event| event.digest).collect::<Vec<_>>()) == found {
        return None;
    }
    if value(&log.iter().map(version_2).collect::<Vec<_>>()) == found {
        return Some(Explanation::Because(vec![Cause::DigestVersion2]));
    }
    let unknown = Explanation::Unknown { tried: 2, log_does_not_replay: true };
    if events.len() > MAX_EVENTS {
        return Some(unknown);
    }
    let edited = alignment::single_edits(&events).find(|(_, edited)| value(edited) == found);
    Some(edited.map_or(unknown, |(cause, _)| Explanation::Because(vec![cause])))
}

fn event(runtime: &RuntimeEvent) -> Event {
    Event {
        register: Register::Rtmr3,
        name: runtime.name.clone().into(),
        event_type: RUNTIME_EVENT_TYPE,
        digest: runtime.digest(),
        preimage: "as logged".into(),
        origin: Origin::Computed,
    }
}

/// Digest of dstack's event log version 2: of the event as JSON in canonical form (RFC 8785).
fn version_2(event: &RuntimeEvent) -> Sha384Digest {
    let name = serde_json::Value::from(event.name.as_str());
    let payload: String = event.payload.iter().map(|byte| format!("{byte:02x}")).collect();
    Sha384Digest::of(
        format!(r#"{{"name":{name},"payload":"{payload}","type":{RUNTIME_EVENT_TYPE}}}"#)
            .as_bytes(),
    )
}
