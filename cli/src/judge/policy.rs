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

#[cfg(test)]
mod tests {
    use attestation::{AnchorName, StatedFirmware, StatedMachine};

    use super::*;
    use crate::vm::{Process, Vm};

    fn request(source: Source) -> AppraisalRequest {
        AppraisalRequest {
            source,
            event_logs: Vec::new(),
            report_data: None,
            image: None,
            release: None,
            app: None,
            app_id: None,
            machine: StatedMachine::default(),
            firmware: StatedFirmware::default(),
            collateral: None,
            pccs: None,
            policy: None,
            now_secs: 0,
            danger_accept_emulated: false,
        }
    }

    fn machine(emulated: bool) -> Source {
        let vm = Vm {
            name: "m".into(),
            image: "image".into(),
            app: "app".into(),
            agent_url: "http://127.0.0.1:1".into(),
            owner_address: None,
            urls: Vec::new(),
            ports: Default::default(),
            app_id: None,
            emulated,
            qemu: Process::of(std::process::id()).unwrap(),
            helpers: Vec::new(),
        };
        Source::Vm(vm.into())
    }

    #[test]
    fn the_emulators_root_takes_a_word_of_danger_or_an_emulator_of_this_program() {
        let others =
            [machine(false), Source::Url("http://x".into()), Source::File("evidence.json".into())];
        for source in others {
            let mut request = request(source);
            assert_eq!(anchor(&request).name(), AnchorName::Intel, "{:?}", request.source);
            request.danger_accept_emulated = true;
            assert_eq!(anchor(&request).name(), AnchorName::Emulated, "{:?}", request.source);
        }
        let own = request(machine(true));
        assert_eq!(anchor(&own).name(), AnchorName::Emulated);
        let by_policy = AppraisalRequest { policy: Some("rules.toml".into()), ..own };
        assert_eq!(anchor(&by_policy).name(), AnchorName::Intel, "a policy asks for more");
    }
}
