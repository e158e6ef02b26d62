//! The event log: one list, read once, whose payloads hash to its digests, in a boot's order,
//! replaying to RTMR3.

use protocol::digest::Rtmr;
use protocol::event_log::{self, EventLogError, RUNTIME_REGISTER, RawEvent, RuntimeEvent};
use protocol::event_name;

use crate::check_rows::CheckRows;
use crate::policy::{Explanation, RequiredEvent, Stage};
use crate::refusal::{CheckName, Finding};

/// What to think when a log does not fit.
const TAMPERED: &str =
    "the log was changed after the guest wrote it, or the guest is not a dstyx guest";

/// Judges the log and gives its run-time events, if they can be read.
pub(crate) fn judge(
    rows: &mut CheckRows,
    log: &[RawEvent],
    rtmr3: Option<&Rtmr>,
    explanation: Option<&Explanation>,
) -> Option<Vec<RuntimeEvent>> {
    const READABLE: &str = "run-time events in register 3";
    const HASHED: &str = "every digest is that of its name and payload";
    if let Some((index, raw)) = log.iter().enumerate().find(|(_, raw)| raw.imr > RUNTIME_REGISTER) {
        rows.fail(
            CheckName::EventLog,
            READABLE,
            format!("event {index}: register {}, expected 0 to 3", raw.imr),
            TAMPERED,
        );
        return None;
    }
    let events = match event_log::runtime_events(log) {
        Ok(events) => events,
        Err(error @ EventLogError::PayloadMismatch { .. }) => {
            rows.pass(CheckName::EventLog, READABLE, format!("{} entries", log.len()));
            rows.fail(CheckName::EventPayload, HASHED, error, TAMPERED);
            return None;
        }
        Err(error) => {
            rows.fail(CheckName::EventLog, READABLE, error, TAMPERED);
            return None;
        }
    };
    rows.pass(CheckName::EventLog, READABLE, format!("{} run-time events", events.len()));
    rows.pass(CheckName::EventPayload, HASHED, "all are");
    judge_order(rows, &events);
    if let Some(rtmr3) = rtmr3 {
        let replayed = event_log::replay(&events);
        let known = explanation.filter(|explanation| explanation.found == rtmr3.0);
        let cause = known
            .map_or("an event is absent, added, changed or moved", |known| known.text.as_str());
        let finding = Finding::new(rtmr3, replayed, format!("{cause}: {TAMPERED}"));
        rows.judge(CheckName::Rtmr3, replayed == *rtmr3, finding);
    }
    Some(events)
}

/// The walk over the boot's order ends at its first fault, so the other rows of order are then
/// skipped.
fn judge_order(rows: &mut CheckRows, events: &[RuntimeEvent]) {
    let of_order = [
        (CheckName::EventMissing, event_name::REQUIRED.join(", ")),
        (CheckName::EventOrder, event_name::BOOT.join(", ")),
        (CheckName::EventRepeated, "each boot event at most once".to_owned()),
        (CheckName::EventLate, format!("no boot event's name after {}", event_name::SYSTEM_READY)),
    ];
    let error = event_log::check_boot_order(events).err();
    let failed = error.as_ref().map(|error| match error {
        EventLogError::Missing { .. } => CheckName::EventMissing,
        EventLogError::Repeated { .. } => CheckName::EventRepeated,
        EventLogError::AfterReady { .. } => CheckName::EventLate,
        _ => CheckName::EventOrder,
    });
    for (name, expected) in of_order {
        match &error {
            Some(error) if failed == Some(name) => rows.fail(name, expected, error, TAMPERED),
            // What is missing is asked last: the walk came to its end.
            Some(error) if failed != Some(CheckName::EventMissing) => {
                rows.skip(&[name], format!("the walk over the boot's events ended: {error}"));
            }
            _ => rows.pass(name, expected, "so it is"),
        }
    }
}

/// Judges that the boot is at the stage that the policy asks for.
pub(crate) fn judge_stage(rows: &mut CheckRows, events: Option<&[RuntimeEvent]>, stage: Stage) {
    const NAME: CheckName = CheckName::BootStage;
    let Some(events) = events else {
        return rows.skip(&[NAME], "the event log cannot be read");
    };
    let has = |name: &str| event_log::find(events, name).is_some();
    if !event_name::REQUIRED.into_iter().all(has) {
        return rows.skip(&[NAME], "a boot that lacks an event is at no stage (see event-missing)");
    }
    let ready = has(event_name::SYSTEM_READY);
    let found = if ready { "system-ready is in the log" } else { "system-ready is not in the log" };
    let (expected, holds, hint) = match stage {
        Stage::SystemReady => (
            "system-ready in the log",
            ready,
            "the guest has not finished its boot: ask again when it has",
        ),
        Stage::KeyRelease => (
            "no system-ready in the log",
            !ready,
            "containers may run already, and could ask for keys in the guest's name",
        ),
        Stage::KeyReleaseOrLater => ("boot-mr-done in the log", true, ""),
    };
    rows.judge(NAME, holds, Finding::new(expected, found, hint));
}

/// Judges that no event is in the log that the policy forbids; a row only where it forbids any.
pub(crate) fn judge_forbidden(
    rows: &mut CheckRows,
    events: Option<&[RuntimeEvent]>,
    forbidden: &[String],
) {
    if forbidden.is_empty() {
        return;
    }
    let Some(events) = events else {
        return rows.skip(&[CheckName::ForbiddenEvents], "the event log cannot be read");
    };
    let there = events.iter().find(|event| forbidden.contains(&event.name));
    let found = there.map_or_else(
        || "none of them".to_owned(),
        |event| format!("{} = {}", event.name, printable(&event.payload)),
    );
    let hint = "the guest did what the policy's owner does not accept";
    let finding = Finding::new(format!("no {}", forbidden.join(", ")), found, hint);
    rows.judge(CheckName::ForbiddenEvents, there.is_none(), finding);
}

/// Judges the events that the policy requires; a row only where there are any.
pub(crate) fn judge_required(
    rows: &mut CheckRows,
    events: Option<&[RuntimeEvent]>,
    required: &[RequiredEvent],
) {
    if required.is_empty() {
        return;
    }
    let Some(events) = events else {
        rows.skip(&[CheckName::RequiredEvents], "the event log cannot be read");
        return;
    };
    let wrong = required.iter().find_map(|required| {
        let matching: Vec<_> = events.iter().filter(|event| event.name == required.name).collect();
        let expected = match &required.payload {
            Some(payload) => format!("{} = {}", required.name, printable(payload)),
            None => format!("{}, once", required.name),
        };
        match matching[..] {
            [] => Some((expected, "absent".to_owned())),
            [event]
                if required.payload.as_ref().is_none_or(|payload| *payload == event.payload) =>
            {
                None
            }
            [event] => Some((expected, format!("{} = {}", event.name, printable(&event.payload)))),
            _ => Some((expected, format!("{} times", matching.len()))),
        }
    });
    let names = || required.iter().map(|event| event.name.as_str()).collect::<Vec<_>>().join(", ");
    match wrong {
        Some((expected, found)) => rows.fail(
            CheckName::RequiredEvents,
            expected,
            found,
            "an absent fact is never an empty one",
        ),
        None => rows.pass(CheckName::RequiredEvents, names(), "present"),
    }
}

/// Printable ASCII as it is, everything else as hex.
pub(crate) fn printable(payload: &[u8]) -> String {
    let plain = !payload.is_empty() && payload.iter().all(|byte| (b' '..=b'~').contains(byte));
    if plain { String::from_utf8_lossy(payload).into_owned() } else { hex::encode(payload) }
}
