//! MRTD and RTMR0 to 2 against their predictions, and the likely cause where one differs.
//!
//! The firmware's log only explains: a register is judged by its value alone.

use protocol::digest::{Rtmr, Sha384Digest};
use protocol::evidence::Evidence;
use protocol::quote::TdReport;

use super::one_of;
use crate::ledger::Ledger;
use crate::policy::{ExpectedRegister, ExpectedRegisters, FirmwareEvent, Policy, Prediction};
use crate::refusal::{CheckName, Finding};

/// Rows of this file.
pub(crate) const ROWS: [CheckName; 4] = [CheckName::Mrtd, CheckName::Rtmr0, CheckName::Rtmr1, CheckName::Rtmr2];

/// Judges that the image by which the registers are judged is one that the policy lists; a row only where it lists any.
pub(crate) fn judge_list(ledger: &mut Ledger, policy: &Policy) {
    let Some(list) = &policy.images else { return };
    let judged_by = policy.image.as_ref().and_then(|image| image.os_image_hash);
    let found = judged_by.map_or_else(|| "no image was stated".to_owned(), |hash| hash.to_string());
    let holds = judged_by.is_some_and(|hash| list.contains(&hash));
    let hint = "state an image that the policy lists, or let its owner add this one";
    ledger.judge(CheckName::ImageList, holds, Finding::new(one_of(list.iter()), found, hint));
}

/// Judges the four registers that image and shape decide.
pub(crate) fn judge(ledger: &mut Ledger, report: &TdReport, image: &ExpectedRegisters, evidence: &Evidence) {
    let log = if image.firmware_log.is_empty() { log_of(evidence) } else { image.firmware_log.clone() };
    let registers = [
        (CheckName::Mrtd, &image.mrtd, report.mrtd.0, None),
        (CheckName::Rtmr0, &image.rtmr0, report.rtmrs[0].0, Some(0)),
        (CheckName::Rtmr1, &image.rtmr1, report.rtmrs[1].0, Some(1)),
        (CheckName::Rtmr2, &image.rtmr2, report.rtmrs[2].0, Some(2)),
    ];
    let claimed = evidence.claims.os_image_hash;
    let foreign = image.os_image_hash.filter(|judged| *judged != claimed);
    let foreign = foreign.map(|judged| format!("; the evidence claims image {claimed}, judged by image {judged}"));
    for (name, prediction, found, register) in registers {
        let expected = match prediction {
            Prediction::Value(expected) => expected,
            Prediction::Unknown(why) => {
                ledger.skip(&[name], why);
                continue;
            }
        };
        let equal = expected.value == found;
        let mut hint = expected.source.clone();
        if !equal {
            let events: Vec<_> = log.iter().filter(|event| Some(event.register) == register).collect();
            hint = format!("{}; predicted for {hint}", cause(expected, &found, &events));
            hint.extend(foreign.as_deref());
        }
        ledger.judge(name, equal, Finding::new(hex::encode(expected.value), hex::encode(found), hint));
        ledger.witnessed_by(expected.witness.clone());
    }
}

/// Why a register differs, as far as it can be told.
fn cause(expected: &ExpectedRegister, found: &[u8; 48], log: &[&FirmwareEvent]) -> String {
    if let Some(neighbour) = expected.neighbours.iter().find(|neighbour| neighbour.value == *found) {
        return format!("it is that of {}", neighbour.cause);
    }
    if log.is_empty() || expected.events.is_empty() {
        return "no known cause".to_owned();
    }
    if Rtmr::replay(log.iter().map(|event| &event.digest)).0 != *found {
        return "no known cause: the firmware's log does not replay to it either".to_owned();
    }
    let mut pairs = expected.events.iter().enumerate().zip(log);
    if let Some(((index, event), _)) = pairs.find(|((_, event), logged)| event.digest != logged.digest) {
        return format!("by the firmware's log, event {index} ({}) is another", event.name);
    }
    format!("by the firmware's log, there are {} events instead of {}", log.len(), expected.events.len())
}

/// The firmware's events in the evidence's own list; what is not a digest explains nothing and is left out.
fn log_of(evidence: &Evidence) -> Vec<FirmwareEvent> {
    let firmware = evidence.event_log.iter().filter(|event| event.imr < 3);
    let event = |raw: &protocol::event_log::RawEvent| {
        let digest = Sha384Digest::from_hex(&raw.digest).ok()?;
        Some(FirmwareEvent { register: raw.imr as usize, digest })
    };
    firmware.filter_map(event).collect()
}
