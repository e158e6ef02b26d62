//! MRTD and RTMR0 to 2 against their predictions.
//!
//! A register is judged by its value alone; why one differs is the caller's to explain
//! (`measurement::explain`).

use protocol::digest::OsImageHash;
use protocol::evidence::Evidence;
use protocol::quote::TdReport;

use super::one_of;
use crate::check_rows::CheckRows;
use crate::policy::{ExpectedRegister, ExpectedRegisters, Policy, Prediction};
use crate::refusal::{CheckName, Finding};

/// Judges that the image by which the registers are judged is one that the policy lists; a row only
/// where it lists any.
pub(crate) fn judge_list(rows: &mut CheckRows, policy: &Policy) {
    let Some(list) = &policy.images else { return };
    let judged_by = policy.image.as_ref().map(|image| image.identity.os_image_hash);
    let found = judged_by.map_or_else(|| "no image was stated".to_owned(), |hash| hash.to_string());
    let holds = judged_by.is_some_and(|hash| list.contains(&hash));
    let hint = "state an image that the policy lists, or let its owner add this one";
    rows.judge(CheckName::ImageList, holds, Finding::new(one_of(list.iter()), found, hint));
}

/// Judges the four registers that image and shape decide.
pub(crate) fn judge(
    rows: &mut CheckRows,
    report: &TdReport,
    image: &ExpectedRegisters,
    evidence: &Evidence,
) {
    let registers = [
        (CheckName::Mrtd, &image.mrtd, report.mrtd.0),
        (CheckName::Rtmr0, &image.rtmr0, report.rtmrs[0].0),
        (CheckName::Rtmr1, &image.rtmr1, report.rtmrs[1].0),
        (CheckName::Rtmr2, &image.rtmr2, report.rtmrs[2].0),
    ];
    let claimed = evidence.claims.os_image_hash;
    // Evidence of other software may claim none, which is not another one.
    let claims_any = claimed != OsImageHash::ZERO;
    let judged = image.identity.os_image_hash;
    let foreign = (claims_any && judged != claimed).then_some(judged);
    let foreign = foreign
        .map(|judged| format!("; the evidence claims image {claimed}, judged by image {judged}"));
    for (name, prediction, found) in registers {
        let expected = match prediction {
            Prediction::Value(expected) => expected,
            Prediction::Unknown(why) => {
                rows.skip(&[name], why);
                continue;
            }
        };
        let equal = expected.value == found;
        let mut hint = expected.source.clone();
        if !equal {
            hint = format!("{}; predicted for {hint}", cause(expected, &found));
            hint.extend(foreign.as_deref());
        }
        rows.judge(
            name,
            equal,
            Finding::new(hex::encode(expected.value), hex::encode(found), hint),
        );
        rows.cross_checked_by(expected.cross_check.clone());
    }
}

/// Why a register differs, if the caller's explanation is of this very value.
fn cause<'a>(expected: &'a ExpectedRegister, found: &[u8; 48]) -> &'a str {
    let explanation =
        expected.explanation.as_ref().filter(|explanation| explanation.found == *found);
    explanation.map_or("no known cause", |explanation| explanation.text.as_str())
}
