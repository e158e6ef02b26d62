//! The registers that the evidence must show: predicted from the image for the machine that was
//! stated, or claimed.

use measurement::explain::{
    Explanation, Explanations, FoundRegisters, Known, Logged, OtherImage, StatedBy, explain,
    explain_runtime, logged_handoff_tables,
};
use measurement::{
    Compared, Event, FirmwareLayout, ImageFacts, Origin, PredictError, QemuProfile, Register,
    replay,
};
use protocol::digest::Sha384Digest;
use protocol::event_log::{self, RawEvent};
use protocol::evidence::Evidence;
use protocol::quote::Quote;
use protocol::shape::Shape;

use crate::image::{Image, ImageFault};
use crate::policy::{self, ExpectedRegister, ExpectedRegisters, Prediction};
use crate::stated::{StatedFirmware, StatedMachine};
use crate::verified::VerifiedImage;

/// Who else computes what an emulated guest's registers must be.
const EMULATOR: &str = "the emulator's own computation over the running QEMU's files and tables";
/// Who else has the values that a profile gives.
const REAL_GUESTS: &str = "quotes and logs of real TDX guests of this version of QEMU";

/// An image that a guest must run, in a machine as far as the verifier states it.
#[derive(Debug, Clone, Copy)]
pub struct StatedImage<'a> {
    /// The image.
    pub image: &'a Image,
    /// The machine; what is not stated is the evidence's claim.
    pub machine: &'a StatedMachine,
    /// The firmware, where the image does not describe it.
    pub firmware: &'a StatedFirmware,
    /// Images that may have been started instead; they explain and decide nothing.
    pub others: &'a [OtherImage<'a>],
    /// A log of what the firmware measured, where the evidence has none; it explains and decides
    /// nothing.
    pub firmware_log: &'a [RawEvent],
}

/// The four static registers, with an explanation for each that the evidence shows otherwise.
pub fn expected_registers(
    stated: &StatedImage<'_>,
    evidence: &Evidence,
) -> Result<ExpectedRegisters, ImageFault> {
    let inputs = PredictionInputs::new(stated, evidence)?;
    let (known, found) = (inputs.known(), found(evidence));
    let each = stated.image.predictions().of(&inputs.facts, &inputs.shape);
    let explanations = found.map(|found| explain(&known, &each, &found)).unwrap_or_default();
    let rows =
        Rows { source: inputs.source(), found, cross_check: inputs.cross_check(stated.image) };
    let why = |error: PredictError| inputs.unpredicted(&error);
    Ok(ExpectedRegisters {
        identity: VerifiedImage {
            os_image_hash: stated.image.os_image_hash(),
            shape: inputs.shape.clone(),
            believed: stated.image.believed(),
            reserves_report_data: stated.image.reserves_report_data(),
        },
        mrtd: match each.mrtd {
            Ok(mrtd) => rows.row(None, mrtd.0, "", explanations.mrtd),
            Err(error) => Prediction::Unknown(why(error)),
        },
        rtmr0: rows.events(
            Register::Rtmr0,
            each.rtmr0.map_err(|error| {
                let logged = inputs.logged_handoff_tables(found);
                format!("{}{}", why(error), logged.unwrap_or_default())
            }),
            explanations.rtmr0,
        ),
        rtmr1: rows.events(Register::Rtmr1, each.rtmr1.map_err(why), explanations.rtmr1),
        rtmr2: rows.events(Register::Rtmr2, Ok(each.rtmr2), explanations.rtmr2),
    })
}

/// A register's prediction beside what evidence shows, for a person who compares them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Predicted {
    /// `mrtd` or `rtmr0` to `rtmr2`.
    pub register: &'static str,
    /// The value, or why there is none.
    pub value: Result<[u8; 48], String>,
    /// The events that make the value; none for MRTD.
    pub events: Vec<Event>,
    /// Why the evidence's value is another one.
    pub difference: Option<String>,
}

/// Every static register that can be predicted, and why each other one cannot.
pub fn predicted(
    stated: &StatedImage<'_>,
    evidence: &Evidence,
) -> Result<[Predicted; 4], ImageFault> {
    let inputs = PredictionInputs::new(stated, evidence)?;
    let known = inputs.known();
    let each = stated.image.predictions().of(&inputs.facts, &inputs.shape);
    let Explanations { mrtd, rtmr0, rtmr1, rtmr2 } =
        found(evidence).map(|found| explain(&known, &each, &found)).unwrap_or_default();
    let why = |error: PredictError| inputs.unpredicted(&error);
    let text = |why: Option<Explanation>| why.map(|why| why.to_string());
    let of_events = |name, register, events: Result<Vec<Event>, PredictError>, difference| {
        let (value, events) = match events {
            Ok(events) => (Ok(replay(register, &events).0), events),
            Err(error) => (Err(why(error)), Vec::new()),
        };
        Predicted { register: name, value, events, difference: text(difference) }
    };
    Ok([
        Predicted {
            register: "mrtd",
            value: each.mrtd.map(|mrtd| mrtd.0).map_err(why),
            events: Vec::new(),
            difference: text(mrtd),
        },
        of_events("rtmr0", Register::Rtmr0, each.rtmr0, rtmr0),
        of_events("rtmr1", Register::Rtmr1, each.rtmr1, rtmr1),
        of_events("rtmr2", Register::Rtmr2, Ok(each.rtmr2), rtmr2),
    ])
}

/// An image, a machine, and the claims that fill what is not stated.
struct PredictionInputs<'a> {
    facts: ImageFacts<'a>,
    others: &'a [OtherImage<'a>],
    believed: Vec<&'static str>,
    shape: Shape,
    stated_by: StatedBy,
    claimed: &'a Shape,
    log: Vec<Logged>,
    layout_proposed: bool,
}

impl<'a> PredictionInputs<'a> {
    fn new(stated: &StatedImage<'a>, evidence: &'a Evidence) -> Result<Self, ImageFault> {
        let claimed = &evidence.claims.shape;
        let log = if stated.firmware_log.is_empty() {
            logged(&evidence.event_log)
        } else {
            logged(stated.firmware_log)
        };
        let rtmr0_events = log.iter().filter(|event| event.register == Register::Rtmr0).count();
        let proposed = FirmwareLayout::proposed_by(rtmr0_events);
        Ok(Self {
            facts: stated.image.facts(stated.firmware, proposed)?,
            others: stated.others,
            believed: stated.image.believed(),
            shape: stated.machine.over(claimed),
            stated_by: stated.machine.stated_by(),
            claimed,
            log,
            layout_proposed: proposed.is_some()
                && !stated.image.states_layout()
                && stated.firmware.layout.is_none(),
        })
    }

    fn known(&self) -> Known<'_> {
        Known {
            image: &self.facts,
            stated: &self.shape,
            stated_by: self.stated_by,
            claimed: Some(self.claimed),
            others: self.others,
            log: &self.log,
        }
    }

    /// Why a register has no prediction, and what a verifier can state.
    fn unpredicted(&self, error: &PredictError) -> String {
        let StatedBy { vcpus, memory_mib, root_slots, serial_ports, qemu_version, .. } =
            self.stated_by;
        let whole = vcpus && memory_mib && root_slots && serial_ports && qemu_version;
        match error {
            PredictError::Shape(_) | PredictError::Qemu(_) if !self.claims_machine() && !whole => {
                format!(
                    "the evidence claims no machine, and the stated one is not whole: state --vcpus, \
                     --memory, --root-slots, --serial-ports and --qemu-version ({error})"
                )
            }
            PredictError::Shape(_) | PredictError::Qemu(_) => {
                format!("{error}; state another --qemu-version or shape")
            }
            error => error.to_string(),
        }
    }

    /// Whether the evidence describes a machine at all; what it does not describe is zero.
    fn claims_machine(&self) -> bool {
        self.claimed.check().is_ok()
    }

    /// What the log says of the one digest of RTMR0 that is missing.
    fn logged_handoff_tables(&self, found: Option<FoundRegisters>) -> Option<String> {
        let digest = logged_handoff_tables(&self.known(), found?.rtmrs[0])?;
        Some(format!(
            "; by the firmware's log every other event is as predicted, and this one is {digest}"
        ))
    }

    /// What confirmed predictions of this kind: the emulator boots our images on the QEMU that they
    /// are built for.
    fn cross_check(&self, image: &Image) -> Option<&'static str> {
        let profile = QemuProfile::for_version(&self.shape.qemu_version).ok()?;
        let built_for = image
            .machine()
            .and_then(|machine| QemuProfile::for_version(&machine.qemu_version).ok());
        if built_for == Some(profile) {
            return Some(EMULATOR);
        }
        (profile.compared == Compared::RealEvidence).then_some(REAL_GUESTS)
    }

    /// A sentence that says what was predicted for, and what of it nobody stated.
    fn source(&self) -> String {
        let Self { shape, stated_by, .. } = self;
        // Evidence without a machine of its own claims none, and only hot-plug has a default then.
        let claimed = self.claims_machine();
        let word = |stated: bool| match (stated, claimed) {
            (true, _) => "stated",
            (false, true) => "claimed",
            (false, false) => "assumed",
        };
        let part = |stated: bool, value: String| {
            (stated || claimed).then(|| format!("{value} ({})", word(stated)))
        };
        let parts = [
            part(stated_by.vcpus, format!("{} vCPUs", shape.vcpus)),
            part(stated_by.memory_mib, format!("{} MiB", shape.memory_mib)),
            part(stated_by.root_slots, format!("{} root slots", shape.root_slots)),
            part(stated_by.serial_ports, format!("{} serial ports", shape.serial_ports)),
            Some(format!(
                "PCI hot-plug {} ({})",
                if shape.pci_hotplug { "on" } else { "off" },
                word(stated_by.pci_hotplug)
            )),
            part(stated_by.qemu_version, format!("QEMU {}", shape.qemu_version)),
        ];
        let known: Vec<_> = parts.iter().flatten().map(String::as_str).collect();
        let mut source = known.join(", ");
        if known.len() < parts.len() {
            source.push_str("; the rest of the machine is neither stated nor claimed");
        }
        if self.layout_proposed {
            source.push_str(&format!(
                ", firmware layout {} (proposed by the log)",
                self.facts.firmware.layout
            ));
        }
        let profile = QemuProfile::for_version(&shape.qemu_version).ok();
        source.extend(
            profile.and_then(|profile| profile.caveat()).map(|caveat| format!("; {caveat}")),
        );
        if !self.believed.is_empty() {
            source.push_str(&format!("; facts believed: no {} at hand", self.believed.join(", ")));
        }
        source
    }
}

/// What all rows have in common.
struct Rows {
    source: String,
    found: Option<FoundRegisters>,
    cross_check: Option<&'static str>,
}

impl Rows {
    fn events(
        &self,
        register: Register,
        events: Result<Vec<Event>, String>,
        why: Option<Explanation>,
    ) -> Prediction {
        let events = match events {
            Ok(events) => events,
            Err(reason) => return Prediction::Unknown(reason),
        };
        let not_computed: Vec<_> = events
            .iter()
            .filter(|event| event.origin == Origin::Stated)
            .map(|event| event.name.as_ref())
            .collect();
        let note = match not_computed.as_slice() {
            [] => String::new(),
            names => format!("; {} stated, not computed", names.join(", ")),
        };
        self.row(Some(register), replay(register, &events).0, &note, why)
    }

    fn row(
        &self,
        register: Option<Register>,
        value: [u8; 48],
        note: &str,
        why: Option<Explanation>,
    ) -> Prediction {
        let found = self.found.map(|found| match register {
            None | Some(Register::Rtmr3) => found.mrtd.0,
            Some(register) => found.rtmrs[register as usize].0,
        });
        let explanation =
            found.zip(why).map(|(found, why)| policy::Explanation { found, text: why.to_string() });
        Prediction::Value(ExpectedRegister {
            value,
            source: format!("{}{note}", self.source),
            cross_check: self.cross_check.map(str::to_owned),
            explanation,
        })
    }
}

/// Why the guest's own log does not replay to RTMR3, where both can be read.
pub(crate) fn rtmr3_explanation(evidence: &Evidence) -> Option<policy::Explanation> {
    let found = Quote::parse(&evidence.quote).ok()?.report.rtmrs[3];
    let events = event_log::runtime_events(&evidence.event_log).ok()?;
    let why = explain_runtime(&events, found)?;
    Some(policy::Explanation { found: found.0, text: why.to_string() })
}

/// The quote's registers, to explain them; whether they count is judged elsewhere.
fn found(evidence: &Evidence) -> Option<FoundRegisters> {
    let report = Quote::parse_padded(&evidence.quote).ok()?.report;
    let [rtmr0, rtmr1, rtmr2, _] = report.rtmrs;
    Some(FoundRegisters { mrtd: report.mrtd, rtmrs: [rtmr0, rtmr1, rtmr2] })
}

/// The firmware's events of a list; what is not a digest explains nothing and is left out.
fn logged(events: &[RawEvent]) -> Vec<Logged> {
    let event = |raw: &RawEvent| {
        let register = [Register::Rtmr0, Register::Rtmr1, Register::Rtmr2]
            .into_iter()
            .nth(raw.imr as usize)?;
        Some(Logged { register, digest: Sha384Digest::from_hex(&raw.digest).ok()? })
    };
    events.iter().filter_map(event).collect()
}
