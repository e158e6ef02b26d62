//! The policy of a verdict: a file of rules, if its owner gives one, and the root that signatures
//! must lead to.

use attestation::TrustAnchor;
use attestation::policy::{ExpectedReportData, MAX_RULES_BYTES, Policy, Rules};

use super::{AppraisalRequest, Input, Source};

use crate::failure::{Hint as _, Outcome};
use crate::files;
use crate::output::note;

/// The emulator's root certificate: its key is published, so evidence under it proves nothing about
/// hardware.
const DANGER_EMULATED_ROOT: &[u8] =
    include_bytes!("../../../tdx-emulator/root/danger-emulated-root.der");

/// The strict defaults, and what the file adds to them; a root that the file names counts before
/// every other. The file is noted among the inputs.
pub fn policy(
    request: &AppraisalRequest,
    report_data: ExpectedReportData,
    inputs: &mut Vec<Input>,
) -> Outcome<Policy> {
    let anchor = anchor(request);
    let Some(path) = &request.policy else {
        return Ok(Policy::strict(anchor, report_data));
    };
    let text = files::read_bounded(path, MAX_RULES_BYTES as u64)?;
    inputs.push(Input::of("policy", path.display(), &text));
    let rules = Rules::parse(&text)
        .hint(path.display(), "docs/policy.md lists every key with an example")?;
    Ok(rules.into_policy(anchor, report_data))
}

/// Intel's root, unless a person accepted the emulator's by a word with danger in it, or the
/// emulator is one that this program started itself and no policy asks for more.
///
/// No file of the image has a say: whoever makes an image writes what he likes into it.
fn anchor(request: &AppraisalRequest) -> TrustAnchor {
    let own = matches!(&request.source, Source::Vm(vm) if vm.emulated);
    if own && request.policy.is_none() && !request.danger_accept_emulated {
        note(
            "danger: the emulator's root is accepted, as this program started this machine's emulator itself",
        );
        return anchor_if(true);
    }
    anchor_if(request.danger_accept_emulated)
}

/// The emulator's root where that is accepted, else Intel's.
pub fn anchor_if(danger_accept_emulated: bool) -> TrustAnchor {
    if danger_accept_emulated {
        TrustAnchor::DangerEmulated(DANGER_EMULATED_ROOT.to_vec())
    } else {
        TrustAnchor::Intel
    }
}
