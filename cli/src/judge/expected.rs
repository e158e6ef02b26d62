//! The registers that the evidence must show: predicted from the image for the machine that was
//! stated, or claimed.

use attestation::policy::{self, ExpectedRegister, ExpectedRegisters, Prediction};
use measurement::explain::{
    Explanation, Explanations, FoundRegisters, Known, Logged, OtherImage, StatedBy, explain,
    logged_handoff_tables,
};
use measurement::{
    Compared, EachRegister, Event, FirmwareLayout, ImageFacts, Origin, QemuProfile, Register,
    replay,
};
use protocol::digest::Sha384Digest;
use protocol::event_log::{self, RawEvent};
use protocol::evidence::Evidence;
use protocol::quote::Quote;
use protocol::shape::Shape;

use crate::args::{FirmwareFlags, ShapeFlags};
use crate::failure::{Hint as _, Outcome};
use crate::image_directory::ImageDirectory;

/// Who else computes what an emulated guest's registers must be.
const EMULATOR: &str = "the emulator's own computation over the running QEMU's files and tables";
/// Who else has the values that a profile gives.
const REAL_GUESTS: &str = "quotes and logs of real TDX guests of this version of QEMU";

/// What a person stated of machine and firmware.
#[derive(Debug, Clone, Copy)]
pub struct Stated<'a> {
    /// The machine.
    pub shape: &'a ShapeFlags,
    /// The firmware.
    pub firmware: &'a FirmwareFlags,
}

/// All four static registers, with an explanation for each that the evidence shows otherwise.
pub fn registers(
    image: &ImageDirectory,
    stated: Stated<'_>,
    evidence: &Evidence,
    firmware_log: &[u8],
) -> Outcome<ExpectedRegisters> {
    let log =
        if firmware_log.is_empty() { logged(&evidence.event_log) } else { parsed(firmware_log)? };
    let question = Question::new(image, stated, evidence, log)?;
    let expected = measurement::predict_each(&question.facts, &question.shape);
    let found = found(evidence);
    let explanations = found.map(|found| explain(&question.known(), &found)).unwrap_or_default();
    let rows = Rows { source: question.source(), found, cross_check: question.cross_check(image) };
    let os_image_hash = Some(image.os_image_hash);
    Ok(match expected {
        Ok(EachRegister { mrtd, rtmr0, rtmr1, rtmr2 }) => {
            let rtmr0 = rtmr0.map_err(|error| skipped(&error, &question.known(), found));
            ExpectedRegisters {
                os_image_hash,
                mrtd: rows.row(None, mrtd.0, "", explanations.mrtd),
                rtmr0: rows.events(Register::Rtmr0, rtmr0, explanations.rtmr0),
                rtmr1: rows.events(
                    Register::Rtmr1,
                    rtmr1.map_err(|error| error.to_string()),
                    explanations.rtmr1,
                ),
                rtmr2: rows.events(Register::Rtmr2, Ok(rtmr2), explanations.rtmr2),
            }
        }
        Err(error) => {
            let unknown =
                || Prediction::Unknown(format!("{error}; state another --qemu-version or shape"));
            ExpectedRegisters {
                os_image_hash,
                mrtd: unknown(),
                rtmr0: unknown(),
                rtmr1: unknown(),
                rtmr2: unknown(),
            }
        }
    })
}

/// A prediction, and why the evidence is otherwise.
pub struct Predicted {
    /// Registers and events.
    pub prediction: measurement::Prediction,
    /// By the register's name, a reason.
    pub reasons: Vec<(&'static str, String)>,
}

/// Predicts for the machine that was stated, or that the evidence claims.
pub fn predicted(
    image: &ImageDirectory,
    stated: Stated<'_>,
    evidence: &Evidence,
) -> Outcome<Predicted> {
    let question = Question::new(image, stated, evidence, logged(&evidence.event_log))?;
    let prediction = measurement::predict_registers(&question.facts, &question.shape);
    let prediction =
        prediction.hint("predicting the registers", "state another machine or firmware")?;
    let explanations =
        found(evidence).map(|found| explain(&question.known(), &found)).unwrap_or_default();
    let Explanations { mrtd, rtmr0, rtmr1, rtmr2 } = explanations;
    let named = [("mrtd", mrtd), ("rtmr0", rtmr0), ("rtmr1", rtmr1), ("rtmr2", rtmr2)];
    let reasons =
        named.into_iter().filter_map(|(name, why)| Some((name, why?.to_string()))).collect();
    Ok(Predicted { prediction, reasons })
}

/// An image, a machine, and the claims that fill what nobody stated.
struct Question<'a> {
    facts: ImageFacts<'a>,
    others: Vec<OtherImage<'static>>,
    shape: Shape,
    stated_by: StatedBy,
    claimed: &'a Shape,
    log: Vec<Logged>,
    layout_proposed: bool,
}

impl<'a> Question<'a> {
    fn new(
        image: &'a ImageDirectory,
        stated: Stated<'_>,
        evidence: &'a Evidence,
        log: Vec<Logged>,
    ) -> Outcome<Self> {
        let claimed = &evidence.claims.shape;
        let shape = shape(stated.shape, claimed);
        shape.check().hint("the stated shape", "state a machine that QEMU can make")?;
        let rtmr0_events = log.iter().filter(|event| event.register == Register::Rtmr0).count();
        let facts = image.facts(stated.firmware, FirmwareLayout::proposed_by(rtmr0_events))?;
        Ok(Self {
            others: image.others(&facts),
            layout_proposed: !image.states_layout() && stated.firmware.layout.is_none(),
            facts,
            shape,
            stated_by: stated_by(stated.shape),
            claimed,
            log,
        })
    }

    fn known(&self) -> Known<'_> {
        Known {
            image: &self.facts,
            stated: &self.shape,
            stated_by: self.stated_by,
            claimed: Some(self.claimed),
            others: &self.others,
            log: &self.log,
        }
    }

    /// What confirmed predictions of this kind: the emulator boots our images on the QEMU that they
    /// are built for.
    fn cross_check(&self, image: &ImageDirectory) -> Option<&'static str> {
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
        // Evidence without a machine of its own claims none; only hot-plug need not be stated then.
        let otherwise = if self.claimed.check().is_ok() { "claimed" } else { "assumed" };
        let word = |stated: bool| if stated { "stated" } else { otherwise };
        let mut source = format!(
            "{} vCPUs ({}), {} MiB ({}), {} root slots ({}), {} serial ports ({}), PCI hot-plug {} ({}), QEMU {} ({})",
            shape.vcpus,
            word(stated_by.vcpus),
            shape.memory_mib,
            word(stated_by.memory_mib),
            shape.root_slots,
            word(stated_by.root_slots),
            shape.serial_ports,
            word(stated_by.serial_ports),
            if shape.pci_hotplug { "on" } else { "off" },
            word(stated_by.pci_hotplug),
            shape.qemu_version,
            word(stated_by.qemu_version),
        );
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

/// Why RTMR0 is not judged, with what the log says of the one digest that is missing.
fn skipped(
    error: &measurement::PredictError,
    known: &Known<'_>,
    found: Option<FoundRegisters>,
) -> String {
    let logged = found.and_then(|found| logged_handoff_tables(known, found.rtmrs[0]));
    let of_log = logged.map(|digest| {
        format!(
            "; by the firmware's log every other event is as predicted, and this one is {digest}"
        )
    });
    format!("{error}{}", of_log.unwrap_or_default())
}

/// Stated numbers over claimed ones.
fn shape(flags: &ShapeFlags, claimed: &Shape) -> Shape {
    Shape {
        vcpus: flags.vcpus.unwrap_or(claimed.vcpus),
        memory_mib: flags.memory.unwrap_or(claimed.memory_mib),
        root_slots: flags.root_slots.unwrap_or(claimed.root_slots),
        serial_ports: flags.serial_ports.unwrap_or(claimed.serial_ports),
        qemu_version: flags.qemu_version.clone().unwrap_or_else(|| claimed.qemu_version.clone()),
        pci_hotplug: flags.stated_pci_hotplug().unwrap_or(claimed.pci_hotplug),
    }
}

fn stated_by(flags: &ShapeFlags) -> StatedBy {
    StatedBy {
        vcpus: flags.vcpus.is_some(),
        memory_mib: flags.memory.is_some(),
        root_slots: flags.root_slots.is_some(),
        serial_ports: flags.serial_ports.is_some(),
        pci_hotplug: flags.pci_hotplug.is_some(),
        qemu_version: flags.qemu_version.is_some(),
    }
}

/// The quote's registers, to explain them; whether they count is `attestation`'s to judge.
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

fn parsed(log: &[u8]) -> Outcome<Vec<Logged>> {
    Ok(logged(&event_log::parse(log).hint("firmware_log.json", "start the machine again")?))
}
